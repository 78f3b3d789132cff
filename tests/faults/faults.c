/* Counts the operations that change files under a folder; at the n-th it kills this process, or
   fails with an error once or from then on. Preloaded (LD_PRELOAD); armed by `faults_arm`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_FILES 65536
static char under[PATH_MAX];
static atomic_long count, at = -1;
static int error, sticky;
static atomic_char ours[MOST_FILES]; /* which descriptors are files or folders under it */

/* error 0: SIGKILL before the operation. */
void faults_arm(const char *folder, long number, int with_error, int for_ever) {
    strncpy(under, folder, PATH_MAX - 1);
    error = with_error;
    sticky = for_ever;
    count = 0;
    at = number;
}

long faults_count(void) { return count; }

static int is_under(int folder, const char *path) {
    if (!under[0] || !path) return 0;
    if (path[0] == '/') return strncmp(path, under, strlen(under)) == 0;
    return folder >= 0 && folder < MOST_FILES && ours[folder];
}

/* Returns whether the operation, which is the next one, fails. */
static int fails(void) {
    long number = atomic_fetch_add(&count, 1);
    if (at < 0 || number < at || (number > at && !sticky)) return 0;
    if (!error) kill(getpid(), SIGKILL);
    errno = error;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE                                                                                       \
    mode_t mode = 0;                                                                               \
    if (flags & (O_CREAT | O_TMPFILE)) {                                                           \
        va_list rest;                                                                              \
        va_start(rest, flags);                                                                     \
        mode = va_arg(rest, mode_t);                                                               \
        va_end(rest);                                                                              \
    }
#define OPEN(folder, call)                                                                         \
    MODE;                                                                                          \
    int mine = is_under(folder, path);                                                             \
    if (mine && (flags & O_CREAT) && fails()) return -1;                                           \
    int file = call;                                                                               \
    if (file >= 0 && file < MOST_FILES) ours[file] = mine;                                         \
    return file

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD, NEXT(open)(path, flags, mode)); }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD, NEXT(open64)(path, flags, mode)); }
int openat(int folder, const char *path, int flags, ...) {
    OPEN(folder, NEXT(openat)(folder, path, flags, mode));
}
int openat64(int folder, const char *path, int flags, ...) {
    OPEN(folder, NEXT(openat64)(folder, path, flags, mode));
}
int close(int file) {
    if (file >= 0 && file < MOST_FILES) ours[file] = 0;
    return NEXT(close)(file);
}

#define ON_FILE(file) (file >= 0 && file < MOST_FILES && ours[file] && fails())
ssize_t write(int file, const void *data, size_t size) {
    return ON_FILE(file) ? -1 : NEXT(write)(file, data, size);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t where) {
    return ON_FILE(file) ? -1 : NEXT(pwrite)(file, data, size, where);
}
ssize_t pwrite64(int file, const void *data, size_t size, off64_t where) {
    return ON_FILE(file) ? -1 : NEXT(pwrite64)(file, data, size, where);
}
ssize_t writev(int file, const struct iovec *parts, int number) {
    return ON_FILE(file) ? -1 : NEXT(writev)(file, parts, number);
}
int fsync(int file) { return ON_FILE(file) ? -1 : NEXT(fsync)(file); }
int fdatasync(int file) { return ON_FILE(file) ? -1 : NEXT(fdatasync)(file); }
int ftruncate(int file, off_t size) { return ON_FILE(file) ? -1 : NEXT(ftruncate)(file, size); }
int ftruncate64(int file, off64_t size) {
    return ON_FILE(file) ? -1 : NEXT(ftruncate64)(file, size);
}

/* A full disk lets names be changed and removed: only a kill and a single failure come here. */
#define ON_NAME(folder, path) (is_under(folder, path) && (!error || !sticky) && fails())
int rename(const char *from, const char *to) {
    return ON_NAME(AT_FDCWD, from) ? -1 : NEXT(rename)(from, to);
}
int renameat(int a, const char *from, int b, const char *to) {
    return ON_NAME(a, from) ? -1 : NEXT(renameat)(a, from, b, to);
}
int unlink(const char *path) { return ON_NAME(AT_FDCWD, path) ? -1 : NEXT(unlink)(path); }
int unlinkat(int folder, const char *path, int flags) {
    return ON_NAME(folder, path) ? -1 : NEXT(unlinkat)(folder, path, flags);
}
int rmdir(const char *path) { return ON_NAME(AT_FDCWD, path) ? -1 : NEXT(rmdir)(path); }
int mkdir(const char *path, mode_t mode) {
    return is_under(AT_FDCWD, path) && fails() ? -1 : NEXT(mkdir)(path, mode);
}
int mkdirat(int folder, const char *path, mode_t mode) {
    return is_under(folder, path) && fails() ? -1 : NEXT(mkdirat)(folder, path, mode);
}
