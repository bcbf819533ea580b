/* Comes between one process and the files of one store. It is preloaded and idle until
   `sweep_arm`; then it counts every operation that changes what is on the disk, and at
   one of them kills the process, tears the write in two, or fails it. It can log what was
   done, with the data, for whoever wants to know what a power cut would have left.

   The files are told by the names behind their descriptors, so nothing has to be known of
   who opened them. The `-shm` is none of them: it is memory that no crash keeps. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

extern long syscall(long number, ...);

_Static_assert(sizeof(long) == 8, "offsets are passed to the kernel in one register");

enum kind { CREATE = 1, WRITE = 2, SYNC = 4, TRUNCATE = 8, UNLINK = 16, MARK = 32 };
enum mode { COUNT, KILL, TEAR, FAIL };

static struct {
    int mode, kinds, error, lasting, half, log;
    long at;
    size_t length;
    char store[3000];
} plan;
static long count, failures;

static const char *const TAILS[] = {"", "-wal", "-journal", "-head"};
enum { FOLDER = 4 };

void sweep_arm(const char *store, int mode, long at, int kinds, int error, int lasting,
               int half, int log) {
    plan.mode = mode, plan.at = at, plan.kinds = kinds, plan.error = error;
    plan.lasting = lasting, plan.half = half, plan.log = log, count = failures = 0;
    plan.length = strlen(store) < sizeof plan.store ? strlen(store) : 0;
    memcpy(plan.store, store, plan.length);
}

long sweep_count(void) { return count; }

/* Which of the store's files a path is; -1 for none. */
static int named(const char *path) {
    size_t length = strlen(path);
    if (!plan.length) return -1;
    if (length >= plan.length && !memcmp(path, plan.store, plan.length))
        for (int tail = 0; tail < FOLDER; tail++)
            if (!strcmp(path + plan.length, TAILS[tail])) return tail;
    if (length < plan.length && !memcmp(path, plan.store, length) &&
        plan.store[length] == '/' && !memchr(plan.store + length + 1, '/', plan.length - length - 1))
        return FOLDER;
    return -1;
}

static int behind(int fd) {
    char link[32], path[4096];
    if (!plan.length) return -1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length < 0) return -1;
    path[length] = 0;
    return named(path);
}

static void record(int kind, int file, long at, long length, int failed, const void *data) {
    struct { int kind, file, failed, zero; long at, length; } head =
        {kind, file, failed, 0, at, length};
    if (plan.log < 0 || !plan.length) return;
    syscall(SYS_write, plan.log, &head, sizeof head);
    if (data) syscall(SYS_write, plan.log, data, length);
}

/* A note of the victim's own, in the order of the operations. */
void sweep_mark(long number) { record(MARK, 0, number, 0, 0, 0); }

static void die(void) {
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts an operation; true if it has to fail. A process that has to die dies here, but
   one that dies in the middle of a write does so in there. */
static int due(int kind) {
    count++;
    if (plan.mode == KILL && count == plan.at) die();
    return plan.mode == FAIL && (kind & plan.kinds) &&
           count >= plan.at && failures++ <= plan.lasting;
}

static ssize_t put(int fd, const void *data, size_t length, off_t at) {
    int file = behind(fd), moved = at < 0;
    if (moved) at = lseek(fd, 0, SEEK_CUR);
    int fails = file >= 0 && due(WRITE);
    int torn = file >= 0 && plan.mode == TEAR && count == plan.at;
    if (torn || fails) length = torn || plan.half ? length / 2 : 0;
    long done = 0;
    if (length)
        done = moved ? syscall(SYS_write, fd, data, length)
                     : syscall(SYS_pwrite64, fd, data, length, at);
    int error = errno;
    if (file >= 0 && done > 0) record(WRITE, file, at, done, 0, data);
    if (torn) die();
    errno = fails ? plan.error : error;
    return fails ? -1 : done;
}

ssize_t write(int fd, const void *data, size_t n) { return put(fd, data, n, -1); }
ssize_t pwrite(int fd, const void *data, size_t n, off_t at) { return put(fd, data, n, at); }
ssize_t pwrite64(int fd, const void *data, size_t n, off_t at) { return put(fd, data, n, at); }

/* An armed process waits for no disk: what it was killed over stays in the kernel, and
   what a power cut takes is worked out from the log. */
static int sync_(int fd, long number) {
    int file = behind(fd);
    if (file < 0) return syscall(number, fd);
    int fails = due(SYNC);
    record(SYNC, file, 0, 0, fails, 0);
    if (fails) errno = EIO;
    return fails ? -1 : 0;
}

int fsync(int fd) { return sync_(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_(fd, SYS_fdatasync); }

static int cut(int fd, off_t length) {
    int file = behind(fd);
    if (file >= 0 && due(TRUNCATE)) return errno = plan.error, -1;
    int done = syscall(SYS_ftruncate, fd, length);
    if (file >= 0 && !done) record(TRUNCATE, file, length, 0, 0, 0);
    return done;
}

int ftruncate(int fd, off_t length) { return cut(fd, length); }
int ftruncate64(int fd, off_t length) { return cut(fd, length); }

int unlink(const char *path) {
    int file = named(path);
    if (file >= 0 && file < FOLDER && !syscall(SYS_faccessat, AT_FDCWD, path, F_OK)) {
        if (due(UNLINK)) return errno = plan.error, -1;
        record(UNLINK, file, 0, 0, 0, 0);
    }
    return syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int make(const char *path, int flags, int mode) {
    int file = flags & O_CREAT ? named(path) : -1;
    if (file >= 0 && file < FOLDER && syscall(SYS_faccessat, AT_FDCWD, path, F_OK)) {
        if (due(CREATE)) return errno = plan.error, -1;
        record(CREATE, file, 0, 0, 0, 0);
    }
    return syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

enum { TEMPORARY = 020000000 }; /* O_TMPFILE, which takes a mode as well */

#define OPEN(name)                                                    \
    int name(const char *path, int flags, ...) {                      \
        va_list rest;                                                 \
        va_start(rest, flags);                                        \
        int mode = flags & (O_CREAT | TEMPORARY) ? va_arg(rest, int) : 0; \
        va_end(rest);                                                 \
        return make(path, flags, mode);                               \
    }
OPEN(open)
OPEN(open64)
