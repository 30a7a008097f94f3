/*
 * Datagrams of 64 bytes as fast as both ends take them, with never more on the way than the receiver's socket holds: none is dropped for want of room.
 * windowed serve IP PORT: reads them, and says after every STEP how many have come, until its stdin ends.
 * windowed ask IP PORT SECONDS: sends, WINDOW beyond what it knows to have come, and prints `received COUNT seconds SECONDS missing COUNT`. The last it
 * sends completes a STEP: when all have come, the receiver says so, and when one is missing, it does not.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PAYLOAD = 64,
	WINDOW = 1024,
	STEP = 128,
	/* Of a datagram of 64 bytes the kernel counts less than a page. */
	SOCKET_BYTES = WINDOW * 4096,
	/* The receiver says nothing any more: what it has not seen by then was lost on the way. */
	SILENT_MS = 100,
};

/* Else a burst that the window ends would not end at a STEP. */
_Static_assert(WINDOW % STEP == 0 && STEP % 4 == 0, "whole bursts make a STEP, whole STEPs a window");

struct message {
	uint64_t run; /* of one `ask`, so that the count of another is none of it */
	uint64_t count;
};

static int fail(const char *what)
{
	fprintf(stderr, "windowed: %s: %s\n", what, strerror(errno));
	return 1;
}

static int open_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	int bytes = SOCKET_BYTES;

	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		return -1;
	return fd;
}

static int serve(const struct sockaddr_in *address)
{
	int fd = open_socket();
	struct message seen = { 0, 0 };

	if (fd < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return fail("listening");
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		char bytes[PAYLOAD];
		struct message got;
		struct sockaddr_in from;
		socklen_t size = sizeof(from);
		ssize_t length = recvfrom(fd, bytes, sizeof(bytes), MSG_DONTWAIT, (struct sockaddr *)&from, &size);

		if (length < 0) {
			struct pollfd wait[] = { { fd, POLLIN, 0 }, { STDIN_FILENO, POLLIN, 0 } };

			if (errno != EAGAIN)
				return fail("reading");
			if (poll(wait, 2, -1) < 0)
				return fail("waiting");
			if (wait[1].revents)
				return 0;
			continue;
		}
		if (length != PAYLOAD)
			continue;
		memcpy(&got, bytes, sizeof(got));
		if (got.run != seen.run)
			seen = (struct message){ got.run, 0 };
		if (++seen.count % STEP == 0)
			sendto(fd, &seen, sizeof(seen), 0, (struct sockaddr *)&from, size);
	}
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

/* Takes in what the other end says to have seen, waiting for it at most so long. 0: nothing came, -1: it cannot be read. */
static int take(int fd, struct message *seen, int wait_ms)
{
	struct pollfd wait = { fd, POLLIN, 0 };
	struct message got;
	int found = 0;

	if (wait_ms > 0 && poll(&wait, 1, wait_ms) < 0)
		return -1;
	while (recv(fd, &got, sizeof(got), MSG_DONTWAIT) == sizeof(got)) {
		if (got.run != seen->run || got.count <= seen->count)
			continue;
		seen->count = got.count;
		found = 1;
	}
	return errno == EAGAIN ? found : -1;
}

static int ask(const struct sockaddr_in *address, double seconds)
{
	int fd = open_socket();
	double began = now(), end = began + seconds;
	struct message seen = { (uint64_t)(began * 1e9), 0 };
	uint64_t sent = 0;
	char bytes[PAYLOAD] = { 0 };
	int found = 1;

	if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return fail("connecting");
	memcpy(bytes, &seen, sizeof(seen));
	while (found && (now() < end || sent % STEP != 0)) {
		for (int burst = 0; burst < STEP / 4 && sent - seen.count < WINDOW; burst++, sent++) {
			if (send(fd, bytes, sizeof(bytes), 0) != sizeof(bytes))
				return fail("sending");
		}
		int is_full = sent - seen.count >= WINDOW;

		found = take(fd, &seen, is_full ? SILENT_MS : 0);
		if (found == 0 && !is_full)
			found = 1;
		if (found < 0)
			return fail("reading");
	}
	while (found && seen.count < sent) {
		found = take(fd, &seen, SILENT_MS);
		if (found < 0)
			return fail("reading");
	}
	printf("received %lu seconds %.6f missing %lu\n", seen.count, now() - began, sent - seen.count);
	return 0;
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { .sin_family = AF_INET };

	if (argc < 4 || inet_pton(AF_INET, argv[2], &address.sin_addr) != 1) {
		fprintf(stderr, "usage: windowed serve IP PORT | ask IP PORT SECONDS\n");
		return 2;
	}
	address.sin_port = htons(atoi(argv[3]));
	if (strcmp(argv[1], "serve") == 0)
		return serve(&address);
	return ask(&address, argc > 4 ? atof(argv[4]) : 1);
}
