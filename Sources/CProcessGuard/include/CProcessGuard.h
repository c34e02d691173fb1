#ifndef C_PROCESS_GUARD_H
#define C_PROCESS_GUARD_H

#include <sys/types.h>

// A small process between a supervisor and the server that it runs. It ends the server when the supervisor is gone,
// however that died, and is itself the server's parent, so that the kernel ends the server should the guard be killed.

/// What the guard expects at fixed descriptors.
enum {
    /// Read end of a pipe whose only write end the supervisor holds: end of file means "stop".
    NMS_GUARD_LIFETIME_FD = 3,
    /// A descriptor that carries an flock(2) lock, inherited by the server too; only with --lock.
    NMS_GUARD_LOCK_FD = 4,
    /// Read end of the server's log, which the guard drains when the supervisor is dead.
    NMS_GUARD_LOG_FD = 5,
};

/// Exit statuses of the guard's own; the server's status otherwise, or 128 + the signal that ended the server.
enum {
    NMS_GUARD_EXIT_UNREACHABLE = 123, // --check-directory: a directory that the user cannot enter
    NMS_GUARD_EXIT_USAGE = 124,
    NMS_GUARD_EXIT_SETUP = 125, // no fork, no change of user, or the guard died meanwhile
    NMS_GUARD_EXIT_EXEC = 127,
};

/// The whole life of a guard process. argv[1] is the marker by which main told the guard apart; then come
///   [--parent PID] [--user UID:GID] [--stop-signal N] [--grace-ms N] [--directory DIR] [--lock] -- PROGRAM [ARG...]
/// or, to see whether a user can use a directory, [--user UID:GID] --check-directory DIR.
/// Returns the exit status.
int nms_process_guard_main(int argc, char **argv);

/// What nms_guard_spawn hands to the supervisor; both descriptors are close-on-exec.
struct nms_guard_handles {
    pid_t pid;
    /// Write end: closing it, or dying, stops the server.
    int lifetime_fd;
    /// Read end: what guard and server write to standard output and error. Ends when all of them are gone.
    int log_fd;
};

/// Starts a guard with nothing inherited but the descriptors above, default signals and the given environment.
/// lock_fd is -1 for none. Returns 0 or an errno.
int nms_guard_spawn(const char *executable, char *const argv[], char *const envp[], int lock_fd,
                    struct nms_guard_handles *handles);

/// flock(2), which Swift cannot tell from the structure of that name. Returns 0 or an errno.
int nms_flock_exclusive_nonblocking(int fd);

#endif
