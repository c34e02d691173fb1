#define _GNU_SOURCE
#include "CProcessGuard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/file.h>
#include <unistd.h>

// Above every descriptor that dup2 writes to below, so that no source is overwritten.
enum { FIRST_SOURCE_FD = 16 };

static int pipe_above(int ends[2]) {
    int low[2];
    if (pipe2(low, O_CLOEXEC) != 0) return errno;
    int error = 0;
    for (int i = 0; i < 2; i++) {
        ends[i] = fcntl(low[i], F_DUPFD_CLOEXEC, FIRST_SOURCE_FD);
        if (ends[i] < 0) error = errno;
        close(low[i]);
    }
    if (error != 0) {
        for (int i = 0; i < 2; i++)
            if (ends[i] >= 0) close(ends[i]);
    }
    return error;
}

static int add_descriptors(posix_spawn_file_actions_t *actions, int lifetime, int log_read, int log_write, int lock) {
    int error = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (error == 0) error = posix_spawn_file_actions_adddup2(actions, log_write, 1);
    if (error == 0) error = posix_spawn_file_actions_adddup2(actions, log_write, 2);
    if (error == 0) error = posix_spawn_file_actions_adddup2(actions, lifetime, NMS_GUARD_LIFETIME_FD);
    if (error == 0) error = posix_spawn_file_actions_adddup2(actions, log_read, NMS_GUARD_LOG_FD);
    if (error == 0 && lock >= 0) error = posix_spawn_file_actions_adddup2(actions, lock, NMS_GUARD_LOCK_FD);
    return error;
}

static int spawn(const char *executable, char *const argv[], char *const envp[], int lifetime, int log_read,
                 int log_write, int lock, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0) return error;
    error = posix_spawnattr_init(&attributes);
    if (error != 0) {
        posix_spawn_file_actions_destroy(&actions);
        return error;
    }
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
    error = add_descriptors(&actions, lifetime, log_read, log_write, lock);
    if (error == 0) error = posix_spawn(pid, executable, &actions, &attributes, argv, envp);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

int nms_guard_spawn(const char *executable, char *const argv[], char *const envp[], int lock_fd,
                    struct nms_guard_handles *handles) {
    int lifetime[2], log[2], lock = -1;
    int error = pipe_above(lifetime);
    if (error != 0) return error;
    error = pipe_above(log);
    if (error != 0) {
        close(lifetime[0]);
        close(lifetime[1]);
        return error;
    }
    if (lock_fd >= 0) {
        lock = fcntl(lock_fd, F_DUPFD_CLOEXEC, FIRST_SOURCE_FD);
        if (lock < 0) error = errno;
    }
    if (error == 0)
        error = spawn(executable, argv, envp, lifetime[0], log[0], log[1], lock, &handles->pid);
    close(lifetime[0]);
    close(log[1]);
    if (lock >= 0) close(lock);
    if (error != 0) {
        close(lifetime[1]);
        close(log[0]);
        return error;
    }
    handles->lifetime_fd = lifetime[1];
    handles->log_fd = log[0];
    return 0;
}

int nms_flock_exclusive_nonblocking(int fd) {
    int result;
    do result = flock(fd, LOCK_EX | LOCK_NB);
    while (result != 0 && errno == EINTR);
    return result == 0 ? 0 : errno;
}
