/*
 * ktrace-healthz [--gate] [--ready] [--wait SECONDS] [--socket PATH] [--port PORT]: asks the agent of this node over its unix socket, or the gate of this pod
 * over its own loopback, whether it lives, or with --ready whether the agent is ready. With --wait it asks again for so long until it is so. Exit status 0 when
 * it is; 1 when not, with the reason on stderr; 2 for wrong arguments. A program of its own: probes run it several times a minute, and each time Node would
 * take 50 MB.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

namespace
{

/* Longer than any answer of a healthy agent takes. The manifests' probes wait longer than twice that, and as --wait says. */
constexpr timeval kAnswerTime = { 4, 0 };
constexpr long kMaxWaitSeconds = 60;
constexpr timespec kPause = { 0, 100'000'000 };
constexpr long kGatePort = 7471;
constexpr size_t kMaxAnswer = 4096;
constexpr size_t kMaxReason = 256;

struct Asked {
	char who[160];
	const char *url;
	sockaddr_storage address;
	socklen_t address_len;
};

/* `what` is null when all is well. */
struct Outcome {
	const char *what;
	const char *reason;
};

[[noreturn]] void FailArgument(const char *name, const char *expected, const char *got)
{
	fprintf(stderr, "ktrace: Expected %s for %s, got \"%s\" [KTRACE_E_ARGUMENT]\n", expected, name, got);
	exit(2);
}

/* What came from outside is shown as far as it is printable ASCII. */
[[noreturn]] void FailUnhealthy(const Asked &asked, const Outcome &outcome)
{
	const char *reason = outcome.reason;
	char shown[kMaxReason];
	size_t at = 0;

	for (; reason[at] != '\0' && at < sizeof(shown) - 1; at++)
		shown[at] = reason[at] >= ' ' && reason[at] <= '~' ? reason[at] : '?';
	shown[at] = '\0';
	fprintf(stderr, "ktrace: %s %s %s [KTRACE_E_UNHEALTHY]\n", asked.who, outcome.what, shown);
	exit(1);
}

/* An empty variable counts as absent. */
const char *Setting(const char *flag, const char *variable)
{
	const char *value = getenv(variable);

	if (flag != nullptr)
		return flag;
	return value != nullptr && *value != '\0' ? value : nullptr;
}

/* A whole number from 1 to `most`, in digits alone. */
long Number(const char *name, const char *text, long most, const char *expected)
{
	char *end = nullptr;
	long number = strtol(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != '\0' || number < 1 || number > most)
		FailArgument(name, expected, text);
	return number;
}

void AskAgent(Asked *asked, const char *flag, bool ready)
{
	sockaddr_un *address = reinterpret_cast<sockaddr_un *>(&asked->address);
	const char *path = Setting(flag, "KTRACE_SOCKET");

	if (path == nullptr)
		path = "/run/ktrace/agent.sock";
	if (path[0] != '/' || strlen(path) >= sizeof(address->sun_path))
		FailArgument("--socket (or KTRACE_SOCKET)", "an absolute path of at most 107 bytes", path);
	address->sun_family = AF_UNIX;
	strcpy(address->sun_path, path);
	asked->address_len = sizeof(*address);
	asked->url = ready ? "/readyz" : "/healthz";
	snprintf(asked->who, sizeof(asked->who), "The agent at %s", path);
}

void AskGate(Asked *asked, const char *flag, bool ready)
{
	sockaddr_in *address = reinterpret_cast<sockaddr_in *>(&asked->address);
	const char *text = Setting(flag, "KTRACE_GATE_PORT");
	long port = kGatePort;

	if (text != nullptr)
		port = Number("--port (or KTRACE_GATE_PORT)", text, 65535, "a whole number from 1 to 65535");
	address->sin_family = AF_INET;
	address->sin_port = htons(static_cast<uint16_t>(port));
	address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	asked->address_len = sizeof(*address);
	asked->url = ready ? "/readyz" : "/gate/healthz";
	snprintf(asked->who, sizeof(asked->who), "The gate at port %ld", port);
}

/* Its own words where it sent any (the message of a JSON body), else its status line. Changes the answer. */
const char *ReasonOf(char *answer)
{
	char *body = strstr(answer, "\r\n\r\n");
	char *message = body == nullptr ? nullptr : strstr(body, "\"message\":\"");

	if (message != nullptr) {
		message += strlen("\"message\":\"");
		char *end = message;
		while (*end != '\0' && *end != '"')
			end += *end == '\\' && end[1] != '\0' ? 2 : 1;
		*end = '\0';
		return message;
	}
	answer[strcspn(answer, "\r\n")] = '\0';
	return *answer == '\0' ? "nothing" : answer;
}

double Now()
{
	timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

/* What a socket's call says when its time is over: of a unix socket, or of a connection that is not there yet. */
bool IsLate(int error)
{
	return error == EAGAIN || error == EINPROGRESS;
}

/* All that is answered is read, as far as it is of interest; the connection is closed behind it. */
Outcome Ask(const Asked &asked)
{
	static char answer[kMaxAnswer + 1];
	constexpr Outcome kLate = { "does not answer within", "4 s" };
	const double end = Now() + static_cast<double>(kAnswerTime.tv_sec);
	char request[64];
	size_t len = 0;
	ssize_t got = 1;
	int fd = socket(asked.address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int bytes = snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", asked.url);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &kAnswerTime, sizeof(kAnswerTime)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &kAnswerTime, sizeof(kAnswerTime)) != 0 ||
	    connect(fd, reinterpret_cast<const sockaddr *>(&asked.address), asked.address_len) != 0 ||
	    send(fd, request, static_cast<size_t>(bytes), MSG_NOSIGNAL) != bytes) {
		const int error = errno;

		close(fd);
		return IsLate(error) ? kLate : Outcome{ "cannot be asked:", strerror(error) };
	}
	while (len < kMaxAnswer && Now() < end && (got = recv(fd, answer + len, kMaxAnswer - len, 0)) > 0)
		len += static_cast<size_t>(got);
	const bool late = len < kMaxAnswer && (got > 0 || (got < 0 && IsLate(errno)));
	answer[len] = '\0';
	close(fd);
	if (late)
		return kLate;
	if (strncmp(answer, "HTTP/1.1 200 ", strlen("HTTP/1.1 200 ")) == 0)
		return {};
	return { "answers", ReasonOf(answer) };
}

} // namespace

int main(int argc, char **argv)
{
	static const option kOptions[] = {
		{ "gate", no_argument, nullptr, 'g' },       { "ready", no_argument, nullptr, 'r' },
		{ "wait", required_argument, nullptr, 'w' }, { "socket", required_argument, nullptr, 's' },
		{ "port", required_argument, nullptr, 'p' }, { nullptr, 0, nullptr, 0 },
	};
	const char *socket_path = nullptr, *port = nullptr;
	bool gate = false, ready = false;
	long wait_seconds = 0;
	Asked asked = {};
	int got;

	while ((got = getopt_long(argc, argv, "", kOptions, nullptr)) != -1) {
		if (got == 'g')
			gate = true;
		else if (got == 'r')
			ready = true;
		else if (got == 'w')
			wait_seconds =
				Number("--wait", optarg, kMaxWaitSeconds, "a whole number of seconds from 1 to 60");
		else if (got == 's')
			socket_path = optarg;
		else if (got == 'p')
			port = optarg;
		else
			return 2;
	}
	if (optind < argc)
		FailArgument("ktrace-healthz", "[--gate] [--ready] [--wait SECONDS] [--socket PATH] [--port PORT]",
			     argv[optind]);
	if (gate)
		AskGate(&asked, port, ready);
	else
		AskAgent(&asked, socket_path, ready);
	for (double end = Now() + static_cast<double>(wait_seconds);;) {
		Outcome outcome = Ask(asked);
		if (outcome.what == nullptr)
			return 0;
		if (Now() >= end)
			FailUnhealthy(asked, outcome);
		nanosleep(&kPause, nullptr);
	}
}
