#define _GNU_SOURCE
#include "CProcessGuard.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

// What the server's own orphans (such as PostgreSQL's back ends) get to end by themselves.
enum { ORPHAN_GRACE_MS = 5000 };
// How often a stopping guard looks whether the supervisor still reads the log.
enum { TICK_MS = 100 };
enum { DEFAULT_GRACE_MS = 10000 };

struct options {
    pid_t parent;
    bool change_user;
    uid_t uid;
    gid_t gid;
    int stop_signal;
    long grace_ms;
    const char *directory;
    const char *check_directory;
    bool lock;
    char **program;
};

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void close_from(unsigned first) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, first, ~0U, 0) == 0) return;
#endif
    // Kernels before 5.9.
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) return;
    struct dirent *entry;
    while ((entry = readdir(directory)) != NULL) {
        int fd = atoi(entry->d_name);
        if (fd >= (int)first && fd != dirfd(directory)) close(fd);
    }
    closedir(directory);
}

static bool parse_number(const char *text, long low, long high, long *value) {
    char *end = NULL;
    errno = 0;
    long parsed = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || parsed < low || parsed > high) return false;
    *value = parsed;
    return true;
}

static bool parse_user(const char *text, struct options *options) {
    unsigned uid, gid;
    char rest;
    if (sscanf(text, "%u:%u%c", &uid, &gid, &rest) != 2) return false;
    options->change_user = true;
    options->uid = uid;
    options->gid = gid;
    return true;
}

static bool parse(int argc, char **argv, struct options *options) {
    long number;
    for (int i = 2; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--") == 0) {
            options->program = argv + i + 1;
            return *options->program != NULL;
        }
        if (strcmp(name, "--lock") == 0) {
            options->lock = true;
            continue;
        }
        if (++i >= argc) return false;
        const char *value = argv[i];
        if (strcmp(name, "--user") == 0) {
            if (!parse_user(value, options)) return false;
        } else if (strcmp(name, "--parent") == 0) {
            if (!parse_number(value, 1, INT32_MAX, &number)) return false;
            options->parent = (pid_t)number;
        } else if (strcmp(name, "--stop-signal") == 0) {
            if (!parse_number(value, 1, 64, &number)) return false;
            options->stop_signal = (int)number;
        } else if (strcmp(name, "--grace-ms") == 0) {
            if (!parse_number(value, 0, INT32_MAX, &number)) return false;
            options->grace_ms = number;
        } else if (strcmp(name, "--directory") == 0) {
            options->directory = value;
        } else if (strcmp(name, "--check-directory") == 0) {
            options->check_directory = value;
        } else {
            return false;
        }
    }
    return options->check_directory != NULL;
}

static bool become(const struct options *options) {
    if (!options->change_user) return true;
    if (geteuid() == 0) {
        if (setgroups(1, &options->gid) != 0) return false;
        if (setresgid(options->gid, options->gid, options->gid) != 0) return false;
        if (setresuid(options->uid, options->uid, options->uid) != 0) return false;
    }
    return getuid() == options->uid && geteuid() == options->uid && getgid() == options->gid;
}

// Names the first directory on the way that the user cannot enter.
static int check_directory(const struct options *options) {
    char path[4096];
    size_t length = strlen(options->check_directory);
    if (length == 0 || length >= sizeof path) return NMS_GUARD_EXIT_USAGE;
    if (!become(options)) return NMS_GUARD_EXIT_SETUP;
    for (size_t i = 1; i <= length; i++) {
        if (i != length && options->check_directory[i] != '/') continue;
        memcpy(path, options->check_directory, i);
        path[i] = '\0';
        if (access(path, i == length ? R_OK | W_OK | X_OK : X_OK) != 0) {
            printf("%s\n", path);
            fflush(stdout);
            return NMS_GUARD_EXIT_UNREACHABLE;
        }
    }
    return 0;
}

static void run_child(const struct options *options, pid_t guard, const sigset_t *signals) {
    setpgid(0, 0);
    unsigned keep = 3;
    if (options->lock) {
        // The lock outlives even a killed guard: as long as any descendant runs, it is held.
        if (dup2(NMS_GUARD_LOCK_FD, 3) != 3) _exit(NMS_GUARD_EXIT_SETUP);
        keep = 4;
    }
    close_from(keep);
    if (!become(options)) {
        dprintf(STDERR_FILENO, "guard: cannot become user %u, group %u: %s\n", (unsigned)options->uid,
                (unsigned)options->gid, strerror(errno));
        _exit(NMS_GUARD_EXIT_SETUP);
    }
    // After the change of user, which clears it. The guard has one thread, so "parent" is the guard's whole life.
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != guard) _exit(NMS_GUARD_EXIT_SETUP);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (options->directory != NULL && chdir(options->directory) != 0) {
        dprintf(STDERR_FILENO, "guard: cannot enter %s: %s\n", options->directory, strerror(errno));
        _exit(NMS_GUARD_EXIT_SETUP);
    }
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, signals, NULL);
    execv(options->program[0], options->program);
    dprintf(STDERR_FILENO, "guard: cannot execute %s: %s\n", options->program[0], strerror(errno));
    _exit(NMS_GUARD_EXIT_EXEC);
}

// Ends what the dead server left behind: this process is their subreaper.
static void kill_orphans(void) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *children = fopen(path, "re");
    if (children == NULL) return;
    int pid;
    while (fscanf(children, "%d", &pid) == 1) kill(pid, SIGKILL);
    fclose(children);
}

struct guard {
    pid_t child;
    bool child_ended;
    bool lifetime_ended;
    int status;
    int64_t kill_at; // 0: not stopping
};

static void begin_stop(struct guard *guard, const struct options *options) {
    if (guard->kill_at != 0 || guard->child_ended) return;
    kill(guard->child, options->stop_signal);
    guard->kill_at = now_ms() + options->grace_ms;
}

// Returns false when no descendant is left.
static bool reap(struct guard *guard) {
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid == 0) return true;
        if (pid < 0) {
            if (errno == EINTR) continue;
            return false;
        }
        if (pid == guard->child) {
            guard->child_ended = true;
            guard->status = status;
            guard->kill_at = now_ms() + ORPHAN_GRACE_MS;
        }
    }
}

static void discard(int fd) {
    char buffer[4096];
    ssize_t count;
    do count = read(fd, buffer, sizeof buffer);
    while (count < 0 && errno == EINTR);
}

static int watch(struct guard *guard, const struct options *options, int signals) {
    while (reap(guard)) {
        bool supervisor_dead = options->parent != 0 && getppid() != options->parent;
        struct pollfd sources[] = {
            {.fd = signals, .events = POLLIN},
            {.fd = guard->lifetime_ended ? -1 : NMS_GUARD_LIFETIME_FD, .events = POLLIN},
            // With no one reading, a server that logs would block on a full pipe instead of shutting down.
            {.fd = supervisor_dead ? NMS_GUARD_LOG_FD : -1, .events = POLLIN},
        };
        if (poll(sources, 3, guard->kill_at != 0 ? TICK_MS : -1) < 0 && errno != EINTR) return -1;
        if (sources[0].revents & POLLIN) {
            struct signalfd_siginfo info;
            if (read(signals, &info, sizeof info) == sizeof info && info.ssi_signo != SIGCHLD)
                begin_stop(guard, options);
        }
        if (sources[1].revents != 0) {
            char byte;
            if (read(NMS_GUARD_LIFETIME_FD, &byte, 1) <= 0) {
                guard->lifetime_ended = true;
                begin_stop(guard, options);
            }
        }
        if (sources[2].revents & POLLIN) discard(NMS_GUARD_LOG_FD);
        if (guard->kill_at != 0 && now_ms() >= guard->kill_at) {
            // Once the server is reaped its process group's number may be another's.
            if (guard->child_ended)
                kill_orphans();
            else
                kill(-guard->child, SIGKILL);
        }
    }
    return 0;
}

int nms_process_guard_main(int argc, char **argv) {
    struct options options = {.stop_signal = SIGTERM, .grace_ms = DEFAULT_GRACE_MS};
    if (!parse(argc, argv, &options)) {
        fprintf(stderr, "guard: this mode is for internal use\n");
        return NMS_GUARD_EXIT_USAGE;
    }
    close_from(NMS_GUARD_LOG_FD + 1);
    if (options.check_directory != NULL) return check_directory(&options);
    fcntl(NMS_GUARD_LIFETIME_FD, F_SETFD, FD_CLOEXEC);

    setsid(); // Fails only when it already leads a session.
    umask(077);
    if (chdir("/") != 0) return NMS_GUARD_EXIT_SETUP;
    prctl(PR_SET_NAME, "process-guard");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGPIPE, SIG_IGN);

    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGQUIT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signal_fd < 0) return NMS_GUARD_EXIT_SETUP;

    pid_t self = getpid();
    struct guard guard = {.child = fork()};
    if (guard.child < 0) {
        fprintf(stderr, "guard: cannot fork: %s\n", strerror(errno));
        return NMS_GUARD_EXIT_SETUP;
    }
    if (guard.child == 0) run_child(&options, self, &signals);
    setpgid(guard.child, guard.child); // Also done by the child: whoever is first.
    if (watch(&guard, &options, signal_fd) != 0) return NMS_GUARD_EXIT_SETUP;
    if (WIFSIGNALED(guard.status)) return 128 + WTERMSIG(guard.status);
    return WEXITSTATUS(guard.status);
}
