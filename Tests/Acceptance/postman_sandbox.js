// The part of Postman's sandbox that api/postman uses: `pm`, `console`, `setTimeout` and chai's `expect`.
// Whatever is not here throws, so that a script can't pass because a name means nothing.
"use strict";

const strict = (name, members) =>
    new Proxy(members, {
        get(target, key) {
            if (key in target || typeof key === "symbol" || key === "toJSON") return target[key];
            throw new Error(`${name}.${key} is not supported by this runner`);
        },
    });

const typeName = (value) =>
    value === null ? "null" : Array.isArray(value) ? "array" : value instanceof RegExp ? "regexp" : typeof value;

const show = (value) => {
    const text = value === undefined ? "undefined" : JSON.stringify(value);
    return text.length > 300 ? text.slice(0, 300) + "…" : text;
};

const same = (a, b) => {
    if (Object.is(a, b)) return true;
    if (typeName(a) !== typeName(b) || typeof a !== "object" || a === null || b === null) return false;
    const [one, other] = [Object.keys(a), Object.keys(b)];
    return one.length === other.length && one.every((key) => Object.hasOwn(b, key) && same(a[key], b[key]));
};

class AssertionError extends Error {
    get name() { return "AssertionError"; }
}

const CHAINS = ["to", "be", "been", "is", "that", "which", "and", "has", "have", "with", "at", "of", "does"];

function expect(subject, message) {
    return assertion(subject, { negate: false, deep: false, message });
}

function assertion(subject, flags) {
    const check = (holds, text) => {
        if (holds === flags.negate) {
            const lead = flags.message ? `${flags.message}: ` : "";
            throw new AssertionError(`${lead}expected ${show(subject)} ${flags.negate ? "not " : ""}${text}`);
        }
        return assertion(subject, { ...flags, negate: false });
    };
    const equal = (a, b) => (flags.deep ? same(a, b) : a === b);
    const number = (compare, text) => (limit) => {
        if (typeof subject !== "number" || typeof limit !== "number") {
            throw new AssertionError(`expected ${show(subject)} and ${show(limit)} to be numbers`);
        }
        return check(compare(subject, limit), `${text} ${limit}`);
    };
    const sized = () => {
        if (typeof subject === "string" || Array.isArray(subject)) return subject.length;
        throw new AssertionError(`expected ${show(subject)} to have a length`);
    };
    const include = (part) => {
        if (typeof subject === "string") return check(subject.includes(part), `to include ${show(part)}`);
        if (Array.isArray(subject)) {
            return check(subject.some((value) => equal(value, part)), `to include ${show(part)}`);
        }
        if (typeName(subject) === "object" && typeName(part) === "object") {
            const has = (key) => Object.hasOwn(subject, key) && equal(subject[key], part[key]);
            return check(Object.keys(part).every(has), `to include ${show(part)}`);
        }
        throw new AssertionError(`expected ${show(subject)} to be a string, array or object`);
    };
    const kind = (name) => check(typeName(subject) === name.toLowerCase(), `to be a ${name}`);
    const keys = (...names) => {
        const wanted = names.flat().sort();
        return check(same(Object.keys(subject).sort(), wanted), `to have keys ${show(wanted)}`);
    };
    const lengthOf = (size) => check(sized() === size, `to have length ${size}`);
    const deepEqual = (value) => check(same(subject, value), `to equal ${show(value)} deeply`);
    const identical = (value) => check(equal(subject, value), `to equal ${show(value)}`);
    const methods = {
        a: kind,
        an: kind,
        include,
        includes: include,
        contain: include,
        equal: identical,
        equals: identical,
        eq: identical,
        eql: deepEqual,
        eqls: deepEqual,
        above: number((a, b) => a > b, "to be above"),
        least: number((a, b) => a >= b, "to be at least"),
        below: number((a, b) => a < b, "to be below"),
        most: number((a, b) => a <= b, "to be at most"),
        within: (low, high) => check(subject >= low && subject <= high, `to be within ${low} and ${high}`),
        lengthOf,
        match: (pattern) => check(pattern.test(subject), `to match ${pattern}`),
        oneOf: (values) => check(values.some((value) => equal(subject, value)), `to be one of ${show(values)}`),
        keys,
        key: keys,
        members: (values) => {
            const [one, other] = [[...subject].map(show).sort(), values.map(show).sort()];
            return check(same(one, other), `to have members ${show(values)}`);
        },
        property: (...parameters) => {
            const [name, value] = parameters;
            const there = subject !== null && subject !== undefined && name in Object(subject);
            if (parameters.length === 1) {
                check(there, `to have property ${name}`);
                return assertion(there ? subject[name] : undefined, { ...flags, negate: false });
            }
            return check(there && equal(subject[name], value), `to have property ${name} of ${show(value)}`);
        },
    };
    const properties = {
        not: () => assertion(subject, { ...flags, negate: !flags.negate }),
        deep: () => assertion(subject, { ...flags, deep: true }),
        ok: () => check(Boolean(subject), "to be truthy"),
        true: () => check(subject === true, "to be true"),
        false: () => check(subject === false, "to be false"),
        null: () => check(subject === null, "to be null"),
        undefined: () => check(subject === undefined, "to be undefined"),
        exist: () => check(subject !== null && subject !== undefined, "to exist"),
        empty: () =>
            check((typeName(subject) === "object" ? Object.keys(subject).length : sized()) === 0, "to be empty"),
    };
    return new Proxy(methods, {
        get(target, key) {
            if (CHAINS.includes(key)) return assertion(subject, flags);
            if (Object.hasOwn(properties, key)) return properties[key]();
            if (Object.hasOwn(target, key)) return target[key];
            throw new Error(`expect(…).${String(key)} is not supported by this runner`);
        },
    });
}

function responseAssertions(response, negate) {
    const check = (holds, text) => {
        if (holds === negate) throw new AssertionError(`expected the response ${negate ? "not " : ""}${text}`);
    };
    const isJSON = () => {
        try {
            response.json();
            return true;
        } catch {
            return false;
        }
    };
    const have = strict("pm.response.to.have", {
        status: (wanted) =>
            typeof wanted === "number"
                ? check(
                      response.code === wanted,
                      `to have status ${wanted} but got ${response.code}: ${response.text().slice(0, 500)}`,
                  )
                : check(response.status === wanted, `to have status ${wanted} but got ${response.status}`),
        header: (name, value) =>
            check(
                response.headers.has(name) && (value === undefined || response.headers.get(name) === value),
                `to have header ${name}${value === undefined ? "" : ` of ${value}`}`,
            ),
        jsonBody: () => check(isJSON(), "to have a JSON body"),
    });
    const be = {};
    const flag = (name, holds) =>
        Object.defineProperty(be, name, { get: () => check(holds(), `to be ${name}, code ${response.code}`) });
    flag("ok", () => response.code === 200);
    flag("success", () => response.code >= 200 && response.code < 300);
    flag("error", () => response.code >= 400);
    flag("json", isJSON);
    const to = { have, be: strict("pm.response.to.be", be) };
    if (!negate) to.not = responseAssertions(response, true);
    return strict("pm.response.to", to);
}

function scope(values, changed) {
    return strict("variables", {
        get: (name) => values[name],
        has: (name) => Object.hasOwn(values, name),
        set: (name, value) => { changed[name] = values[name] = value; },
        unset: (name) => { delete values[name]; changed[name] = null; },
        toObject: () => ({ ...values }),
    });
}

let timers = [];
let outcome = null;

/// Runs one script; answers what it asserted, what it changed and how long its first timer wants to wait.
function runScript(code, input) {
    timers = [];
    const state = { tests: [], environment: {}, collection: {}, logs: [] };
    outcome = state;
    const environment = { ...input.environment };
    const collection = { ...input.collection };
    const pm = {
        test(name, body) {
            try {
                body();
                state.tests.push({ name, error: null });
            } catch (error) {
                state.tests.push({ name, error: `${error.name}: ${error.message}` });
            }
        },
        expect,
        info: strict("pm.info", { requestName: input.name, eventName: input.event, iteration: 0 }),
        environment: scope(environment, state.environment),
        collectionVariables: scope(collection, state.collection),
        variables: strict("pm.variables", {
            get: (name) => (Object.hasOwn(environment, name) ? environment[name] : collection[name]),
        }),
        request: strict("pm.request", {
            method: input.method,
            url: strict("pm.request.url", { toString: () => input.url }),
        }),
        execution: strict("pm.execution", { setNextRequest: (name) => { state.next = [name]; } }),
    };
    if (input.response) {
        const lower = Object.fromEntries(input.response.headers.map(([name, value]) => [name.toLowerCase(), value]));
        const response = {
            code: input.response.code,
            status: input.response.status,
            responseTime: input.response.time,
            text: () => input.response.body,
            json: () => JSON.parse(input.response.body),
            headers: strict("pm.response.headers", {
                get: (name) => lower[name.toLowerCase()],
                has: (name) => Object.hasOwn(lower, name.toLowerCase()),
            }),
        };
        response.to = responseAssertions(response, false);
        pm.response = strict("pm.response", response);
    }
    const log = (...parts) =>
        state.logs.push(parts.map((part) => (typeof part === "string" ? part : show(part))).join(" "));
    const console = strict("console", { log, info: log, warn: log, error: log });
    const setTimeout = (body, milliseconds) => { timers.push([milliseconds || 0, body]); };
    try {
        new Function("pm", "console", "setTimeout", `"use strict";\n${code}`)(strict("pm", pm), console, setTimeout);
    } catch (error) {
        state.error = `${error.name}: ${error.message}`;
    }
    return report();
}

/// Runs the timer that report() announced.
function runTimer() {
    const [, body] = timers.shift();
    try {
        body();
    } catch (error) {
        outcome.error = `${error.name}: ${error.message}`;
    }
    return report();
}

function report() {
    timers.sort((a, b) => a[0] - b[0]);
    return JSON.stringify({ ...outcome, wait: timers.length > 0 ? timers[0][0] : null });
}
