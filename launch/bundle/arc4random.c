/* What libevent takes from glibc 2.36, for older ones: random bytes of the kernel's. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/random.h>

void arc4random_buf(void* buffer, size_t size) {
  for (char* at = buffer; size > 0;) {
    const ssize_t done = getrandom(at, size, 0);
    if (done < 0) abort();
    at += done;
    size -= (size_t)done;
  }
}

uint32_t arc4random(void) {
  uint32_t value;
  arc4random_buf(&value, sizeof(value));
  return value;
}
