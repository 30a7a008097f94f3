#!/bin/bash
# cost.sh PREFIX TRACE OBJECT ROUNDS PINGS BACKEND …: what the programs do and cost while PINGS pings pass NAT, nobody's and a followed pod's, ROUNDS times, with each
# BACKEND of the kernel's functions (fentry, kprobe). `TRACE OBJECT …` is node.ts. On stdout `cost BACKEND TRAFFIC BEFORE AFTER`, where the last two are what it says of itself then.
#
#   PREFIX-pod1 10.244.1.2 (followed), PREFIX-pod2 10.244.1.3 (not) ─ PREFIX-host1 ─ eth0 172.18.0.1 ─ 172.18.0.2 PREFIX-host2
#   Service 10.96.0.99 → 172.18.0.2: one that no follower was told of; 10.96.0.10:80 → 172.18.0.2:8080: one that the follower's pod is behind, as node.ts has it.
#   host2 echoes on 8080. What pod2 sends it is masqueraded.
set -eu
prefix=$1
read -ra trace <<< "$2"
object=$3
rounds=$4
pings=$5
shift 5
work=$(mktemp -d)
. "$(dirname "$0")/common.sh"
tracer=
echoing=

cleanup() {
	for job in $tracer $echoing; do kill "$job" 2> /dev/null || true; done
	wait
	for name in host1 host2 pod1 pod2; do ip netns del "$prefix-$name" 2> /dev/null || true; done
	rm -rf "$work"
}
trap cleanup EXIT

has_figures() { [ "$(grep -c '^{"figures"' "$work/said")" -gt "$1" ]; }
figures() {
	local known
	known=$(grep -c '^{"figures"' "$work/said") || true
	kill -USR2 "$tracer"
	until_true "figures" has_figures "$known"
	grep '^{"figures"' "$work/said" | tail -1
}

# measure BACKEND TRAFFIC COMMAND …
measure() {
	local backend=$1 traffic=$2 before
	shift 2
	before=$(figures)
	"$@" > /dev/null || true
	echo "cost $backend $traffic $before $(figures)"
}

# through ADDRESS PORT: bytes to host2 and back, in some hundred packets.
through() { head -c 3000000 /dev/zero | within pod2 busybox nc "$1" "$2"; }

for module in veth nf_conntrack nf_nat; do modprobe "$module"; done
for name in host1 host2 pod1 pod2; do
	ip netns add "$prefix-$name"
	# IPv6's own talk would be counted as well.
	within "$name" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	# A ping by a raw socket has its answers dropped by the stack besides.
	within "$name" sysctl -qw "net.ipv4.ping_group_range=0 2147483647" net.ipv4.icmp_ratelimit=0
	ip -n "$prefix-$name" link set lo up
done
for n in 1 2; do
	ip -n "$prefix-host1" link add "vethpod$n" type veth peer name eth0 netns "$prefix-pod$n"
	ip -n "$prefix-host1" link set "vethpod$n" up
	ip -n "$prefix-host1" addr add "10.244.1.25$n/32" dev "vethpod$n"
	ip -n "$prefix-host1" route add "10.244.1.$((n + 1))" dev "vethpod$n"
	ip -n "$prefix-pod$n" link set eth0 up
	ip -n "$prefix-pod$n" addr add "10.244.1.$((n + 1))/32" dev eth0
	ip -n "$prefix-pod$n" route add "10.244.1.25$n" dev eth0
	ip -n "$prefix-pod$n" route add default via "10.244.1.25$n"
done
ip -n "$prefix-host1" link add eth0 type veth peer name eth0 netns "$prefix-host2"
for n in 1 2; do
	ip -n "$prefix-host$n" link set eth0 up
	ip -n "$prefix-host$n" addr add "172.18.0.$n/24" dev eth0
done
ip -n "$prefix-host2" route add 10.244.1.0/24 via 172.18.0.1
within host1 sysctl -qw net.ipv4.ip_forward=1
within host1 iptables -t nat -A PREROUTING -d 10.96.0.99 -j DNAT --to-destination 172.18.0.2
within host1 iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 172.18.0.2:8080
within host1 iptables -t nat -A POSTROUTING -s 10.244.1.3 -p tcp -j MASQUERADE
nsenter "--net=/run/netns/$prefix-host2" -- busybox nc -ll -p 8080 -e /bin/cat &
echoing=$!
within pod1 ping -q -c 1 -W 10 10.96.0.99
within pod2 ping -q -c 1 -W 10 10.96.0.99
echo "network is up"

for backend; do
	nsenter "--net=/run/netns/$prefix-host1" -- env KTRACE_STATS=1 "KTRACE_PROBES=$backend" "${trace[@]}" "$object" host1 10.244.1.2 > "$work/said" 2>&1 &
	tracer=$!
	watched=("$tracer")
	until_true "host1 is ready" grep -q '^{"ready"' "$work/said"
	for ((round = 0; round < rounds; round++)); do
		measure "$backend" pings-of-nobody within pod2 ping -q -f -c "$pings" -W 10 10.96.0.99
		measure "$backend" masqueraded-of-nobody through 172.18.0.2 8080
		measure "$backend" service-of-nobody through 10.96.0.10 80
		measure "$backend" pings-followed within pod1 ping -q -f -c "$pings" -W 10 10.96.0.99
		# Each is answered by an error about a translated flow.
		measure "$backend" errors-of-nobody within pod2 ping -q -f -t 1 -c "$pings" -W 1 10.96.0.99
		measure "$backend" errors-followed within pod1 ping -q -f -t 1 -c "$pings" -W 1 10.96.0.99
	done
	kill "$tracer"
	until_true "host1 has told all" grep -q '^{"counts"' "$work/said"
	wait "$tracer" || true
	tracer=
done
