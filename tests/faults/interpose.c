/* Makes one call of the C library fail, for tests/faults/: loaded with LD_PRELOAD, it counts the calls that concern
 * files below FAULT_UNDER, and lets the one with the number FAULT_AT go wrong as FAULT_KIND says. At the end the number
 * of calls is written to the file FAULT_COUNT, if there is one.
 *
 * Kinds: an errno name (EIO, ENOSPC, EINTR), `short` (half of the bytes asked for), `kill` (SIGKILL in place of the
 * call), `killed` (SIGKILL after it), `term` (SIGTERM in place of it, and then nothing more in this thread).
 *
 * If FAULT_SHARES is set, all file systems seem to share blocks between files; in truth they copy them. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Whether a kind of call may be interrupted, or do a part of its work. */
enum { PLAIN = 0, INTERRUPTIBLE = 1, PARTIAL = 2 };
enum verdict { GO_ON, FAIL, HALF, KILL_AFTER };

static atomic_long calls;

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int is_watched(const char *path) {
    const char *under = setting("FAULT_UNDER");
    size_t length = strlen(under);
    return length > 0 && strncmp(path, under, length) == 0;
}

static int is_watched_at(int fd, const char *path) {
    if (path && path[0] == '/') return is_watched(path);
    char link[64], place[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, place, sizeof place - 1);
    if (length < 0) return 0;
    place[length] = 0;
    return is_watched(place);
}

static void end_by(int signal) {
    syscall(SYS_kill, getpid(), signal);
    for (;;) syscall(SYS_pause);
}

/* Counts a call and says what becomes of it. */
static enum verdict judge(int watched, int nature) {
    static const struct { const char *name; int number; } errors[] = {
        {"EIO", EIO}, {"ENOSPC", ENOSPC}, {"EINTR", EINTR}};
    if (!watched) return GO_ON;
    if (atomic_fetch_add(&calls, 1) + 1 != atol(setting("FAULT_AT"))) return GO_ON;
    const char *kind = setting("FAULT_KIND");
    if (!strcmp(kind, "kill")) end_by(SIGKILL);
    if (!strcmp(kind, "term")) end_by(SIGTERM);
    if (!strcmp(kind, "killed")) return KILL_AFTER;
    if (!strcmp(kind, "short")) return nature & PARTIAL ? HALF : GO_ON;
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (strcmp(kind, errors[i].name)) continue;
        if (errors[i].number == EINTR && !(nature & INTERRUPTIBLE)) return GO_ON;
        errno = errors[i].number;
        return FAIL;
    }
    return GO_ON;
}

#define AROUND(watched, nature, failure, call) \
    do { \
        enum verdict verdict = judge(watched, nature); \
        if (verdict == FAIL) return failure; \
        __typeof__(call) result = call; \
        if (verdict == KILL_AFTER) end_by(SIGKILL); \
        return result; \
    } while (0)

#define PARTLY(fd, count, call) \
    do { \
        enum verdict verdict = judge(is_watched_at(fd, NULL), INTERRUPTIBLE | PARTIAL); \
        if (verdict == FAIL) return -1; \
        if (verdict == HALF && count > 1) count /= 2; \
        ssize_t result = call; \
        if (verdict == KILL_AFTER) end_by(SIGKILL); \
        return result; \
    } while (0)

ssize_t read(int fd, void *to, size_t n) { PARTLY(fd, n, REAL(read)(fd, to, n)); }
ssize_t write(int fd, const void *from, size_t n) { PARTLY(fd, n, REAL(write)(fd, from, n)); }
ssize_t pread64(int fd, void *to, size_t n, off64_t at) { PARTLY(fd, n, REAL(pread64)(fd, to, n, at)); }
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) { PARTLY(fd, n, REAL(pwrite64)(fd, from, n, at)); }
ssize_t copy_file_range(int in, off64_t *a, int out, off64_t *b, size_t n, unsigned flags) {
    PARTLY(out, n, REAL(copy_file_range)(in, a, out, b, n, flags));
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    AROUND(is_watched_at(AT_FDCWD, path), INTERRUPTIBLE, -1, REAL(open64)(path, flags, mode));
}

int ftruncate64(int fd, off64_t size) {
    AROUND(is_watched_at(fd, NULL), INTERRUPTIBLE, -1, REAL(ftruncate64)(fd, size));
}

off64_t lseek64(int fd, off64_t at, int from) {
    AROUND(is_watched_at(fd, NULL), PLAIN, -1, REAL(lseek64)(fd, at, from));
}

/* Under a name without libc's promise that the path is not null: Rust's library asks with null whether the kernel has
 * the call. */
int any_statx(int, const char *, int, unsigned, struct statx *) __asm__("statx");
int any_statx(int fd, const char *path, int flags, unsigned mask, struct statx *out) {
    int watched = path && is_watched_at(fd, *path ? path : NULL);
    AROUND(watched, PLAIN, -1, REAL(statx)(fd, path, flags, mask, out));
}

static int share(int to, const struct file_clone_range *range) {
    long long from = (long long)range->src_offset, at = (long long)range->dest_offset;
    for (size_t left = range->src_length; left > 0;) {
        long copied = syscall(SYS_copy_file_range, (int)range->src_fd, &from, to, &at, left, 0);
        if (copied <= 0) return -1;
        left -= (size_t)copied;
    }
    return 0;
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *argument = va_arg(more, void *);
    va_end(more);
    if (request != FICLONERANGE || !*setting("FAULT_SHARES")) return REAL(ioctl)(fd, request, argument);
    AROUND(is_watched_at(fd, NULL), INTERRUPTIBLE, -1, share(fd, argument));
}

int fchmod(int fd, mode_t mode) { AROUND(is_watched_at(fd, NULL), PLAIN, -1, REAL(fchmod)(fd, mode)); }
int rename(const char *from, const char *to) { AROUND(is_watched(from), PLAIN, -1, REAL(rename)(from, to)); }
int unlink(const char *path) { AROUND(is_watched(path), PLAIN, -1, REAL(unlink)(path)); }
DIR *opendir(const char *path) { AROUND(is_watched(path), PLAIN, NULL, REAL(opendir)(path)); }
ssize_t readlink(const char *path, char *to, size_t n) {
    AROUND(is_watched(path), PLAIN, -1, REAL(readlink)(path, to, n));
}
struct dirent64 *readdir64(DIR *directory) {
    AROUND(is_watched_at(dirfd(directory), NULL), PLAIN, NULL, REAL(readdir64)(directory));
}

__attribute__((destructor)) static void report(void) {
    const char *path = setting("FAULT_COUNT");
    if (!*path) return;
    char text[32];
    int length = snprintf(text, sizeof text, "%ld", atomic_load(&calls));
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    syscall(SYS_write, fd, text, (size_t)length);
    syscall(SYS_close, fd);
}
