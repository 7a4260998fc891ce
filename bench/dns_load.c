// dns_load COUNT NAME: asks 127.0.0.11 for the address of a name COUNT times, 64 at once, and prints queries a second and how
// many were not answered. For bench/dns.ts, inside a container's network namespace.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { WINDOW = 64 };

int main(int argc, char **argv) {
  long count = atol(argv[1]);
  unsigned char query[300] = {0, 0, 1, 0, 0, 1}, reply[4096];
  size_t size = 12;
  for (char *label = strtok(argv[argc - 1], "."); label; label = strtok(0, ".")) {
    query[size++] = strlen(label);
    memcpy(query + size, label, strlen(label));
    size += strlen(label);
  }
  memcpy(query + size, "\0\0\1\0\1", 5);
  size += 5;
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(53)};
  inet_pton(AF_INET, "127.0.0.11", &server.sin_addr);
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  connect(fd, (struct sockaddr *)&server, sizeof server);
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  long sent = 0, answered = 0, lost = 0;
  while (answered + lost < count) {
    for (; sent < count && sent - answered - lost < WINDOW; sent++) {
      query[0] = sent >> 8;
      query[1] = sent;
      send(fd, query, size, 0);
    }
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, 2000) == 0) {
      lost = sent - answered;
      continue;
    }
    while (recv(fd, reply, sizeof reply, MSG_DONTWAIT) > 0) answered++;
  }
  clock_gettime(CLOCK_MONOTONIC, &end);
  double seconds = end.tv_sec - start.tv_sec + (end.tv_nsec - start.tv_nsec) / 1e9;
  printf("%ld queries, %ld unanswered, %.0f a second\n", count, lost, count / seconds);
}
