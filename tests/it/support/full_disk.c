/* Preloaded into a server, makes the disk full for it while a file is there: what exists can be written over, nothing can grow. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int refused(int fd, off_t end) {
    static const char *flag;
    struct stat file, disk;
    if (flag == NULL && (flag = getenv("APONO_TEST_DISK_IS_FULL")) == NULL) return 0;
    /* Standard error is the test's own log. */
    if (fd <= 2 || stat(flag, &disk) != 0) return 0;
    if (fstat(fd, &file) != 0 || !S_ISREG(file.st_mode)) return 0;
    return file.st_dev == disk.st_dev && end > file.st_size;
}

static off_t sum(const struct iovec *parts, int count) {
    off_t bytes = 0;
    for (int i = 0; i < count; i++) bytes += (off_t)parts[i].iov_len;
    return bytes;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *from, size_t bytes) {
    static __typeof__(&write) real;
    if (real == NULL) real = REAL(write);
    if (fd > 2) {
        off_t at = lseek(fd, 0, SEEK_CUR);
        if (at >= 0 && refused(fd, at + (off_t)bytes)) { errno = ENOSPC; return -1; }
    }
    return real(fd, from, bytes);
}

ssize_t pwrite(int fd, const void *from, size_t bytes, off_t at) {
    static __typeof__(&pwrite) real;
    if (real == NULL) real = REAL(pwrite);
    if (refused(fd, at + (off_t)bytes)) { errno = ENOSPC; return -1; }
    return real(fd, from, bytes, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    static __typeof__(&pwritev) real;
    if (real == NULL) real = REAL(pwritev);
    if (refused(fd, at + sum(parts, count))) { errno = ENOSPC; return -1; }
    return real(fd, parts, count, at);
}

int posix_fallocate(int fd, off_t at, off_t bytes) {
    static __typeof__(&posix_fallocate) real;
    if (real == NULL) real = REAL(posix_fallocate);
    return refused(fd, at + bytes) ? ENOSPC : real(fd, at, bytes);
}
