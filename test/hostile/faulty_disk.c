/* A disk that fails: the Nth call that writes below a folder gives an error, or kills the process.

   Loaded before libc (LD_PRELOAD). faulty_disk_arm(folder, n, error) begins to count; error 0 kills instead, and with
   n = 0 calls are only counted. From the Nth call on a full disk (ENOSPC) takes nothing more; other errors come once.
   faulty_disk_watch(f) has f called before each of them: what lies on the disk then is what a process that was killed
   at that moment would leave. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char watched[PATH_MAX];
static long fails_at = -1, count = 0;
static int failure = 0;
static void (*before)(void);
static __thread int is_watching = 0;

void faulty_disk_arm(const char *folder, long n, int error) {
    snprintf(watched, sizeof watched, "%s/", folder);
    fails_at = n;
    failure = error;
    if (n >= 0) count = 0;
}

void faulty_disk_watch(void (*function)(void)) { before = function; }

int faulty_disk_calls(void) { return (int)count; }

static int is_below(const char *path) {
    char folder[PATH_MAX];
    if (fails_at < 0 || path == NULL) return 0;
    if (path[0] == '/') return strncmp(path, watched, strlen(watched)) == 0;
    if (getcwd(folder, sizeof folder) == NULL) return 0;
    strncat(folder, "/", sizeof folder - strlen(folder) - 1);
    return strncmp(folder, watched, strlen(watched)) == 0;
}

static int is_open_below(int file) {
    char link[64], path[PATH_MAX];
    if (fails_at < 0) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* Whether this call fails; errno is set then. ``needs_room``: whether it can fail on a full disk. */
static int fails(int needs_room) {
    if (is_watching) return 0;
    ++count;
    if (before != NULL) {
        is_watching = 1;
        before();
        is_watching = 0;
    }
    if (fails_at == 0 || count < fails_at) return 0;
    if (failure == 0) kill(getpid(), SIGKILL);
    if (failure == ENOSPC ? !needs_room : count > fails_at) return 0;
    errno = failure;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int file, const void *data, size_t size) {
    if (is_open_below(file) && fails(1)) return -1;
    return REAL(write)(file, data, size);
}

ssize_t writev(int file, const struct iovec *parts, int number) {
    if (is_open_below(file) && fails(1)) return -1;
    return REAL(writev)(file, parts, number);
}

ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    if (is_open_below(file) && fails(1)) return -1;
    return REAL(pwrite)(file, data, size, offset);
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset) {
    if (is_open_below(file) && fails(1)) return -1;
    return REAL(pwrite64)(file, data, size, offset);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t size) {
    static ssize_t (*real)(int, int, off64_t *, size_t);
    if (is_open_below(out) && fails(1)) return -1;
    if (!real) real = dlsym(RTLD_NEXT, "sendfile64");
    return real(out, in, offset, size);
}

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t size, unsigned flags) {
    if (is_open_below(out) && fails(1)) return -1;
    return REAL(copy_file_range)(in, from, out, to, size, flags);
}

int ftruncate64(int file, off64_t size) {
    if (is_open_below(file) && fails(0)) return -1;
    return REAL(ftruncate64)(file, size);
}

int fsync(int file) {
    if (is_open_below(file) && fails(1)) return -1;
    return REAL(fsync)(file);
}

int close(int file) {
    if ((fcntl(file, F_GETFL) & O_ACCMODE) != O_RDONLY && is_open_below(file) && fails(0)) {
        int error = errno;
        REAL(close)(file);
        errno = error;
        return -1;
    }
    return REAL(close)(file);
}

int rename(const char *from, const char *to) {
    if (is_below(to) && fails(0)) return -1;
    return REAL(rename)(from, to);
}

int unlink(const char *path) {
    if (is_below(path) && fails(0)) return -1;
    return REAL(unlink)(path);
}

int unlinkat(int folder, const char *path, int flags) {
    if ((path[0] == '/' ? is_below(path) : is_open_below(folder)) && fails(0)) return -1;
    return REAL(unlinkat)(folder, path, flags);
}

int rmdir(const char *path) {
    if (is_below(path) && fails(0)) return -1;
    return REAL(rmdir)(path);
}

int mkdir(const char *path, mode_t mode) {
    if (is_below(path) && fails(1)) return -1;
    return REAL(mkdir)(path, mode);
}

static int creates(const char *path, int flags) {
    return (flags & O_ACCMODE) != O_RDONLY && is_below(path) && fails(flags & O_CREAT);
}

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        va_list rest;                                                                \
        va_start(rest, flags);                                                       \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;      \
        va_end(rest);                                                                \
        return creates(path, flags) ? -1 : REAL(name)(path, flags, mode);            \
    }

OPEN(open)
OPEN(open64)

#define FOPEN(name)                                                                  \
    FILE *name(const char *path, const char *mode) {                                 \
        if (strpbrk(mode, "wa+") && is_below(path) && fails(1)) return NULL;         \
        return REAL(name)(path, mode);                                               \
    }

FOPEN(fopen)
FOPEN(fopen64)
