#!/bin/bash
# scenario.sh PREFIX COMMAND …: two nodes with a pod each, a Service between them, and traffic; what both nodes' kernel side tells of it on stdout. A node's kernel side is COMMAND,
# which gets the node's name and the addresses to follow, see node.ts.
#
# KTRACE_CLOCK_JUMP_S, where it is set, is by how many seconds the machine's clock is set forward while both trace. In a guest only.
#
#   PREFIX-pod1 10.244.1.2 ─ vethpod1 ─ cni0 10.244.1.1 ─ PREFIX-host1 172.18.0.1 ═ flannel.1 ═ 172.18.0.2 PREFIX-host2 ─ … ─ 10.244.2.2 PREFIX-pod2
#   Service 10.96.0.10: 80/tcp → 10.244.2.2:8080 (answers), 53/udp → 10.244.2.2:5353 (nobody listens), 54/udp → 10.244.2.2:5454 (host2 prohibits it). host2 forwards nothing to port 81.
#   By IPv6 pod N is fd00:244:N::2, and Service fd00:96::10: 53/udp → [fd00:244:2::2]:5353 (nobody listens).
#   Service 10.96.0.11: 80/tcp → 10.244.1.2:8080 (answers, pod1 itself and host1 among others), and as NodePort 172.18.0.1:30080. What pods send elsewhere is masqueraded.
set -eu
prefix=$1
shift
command=("$@")
work=$(mktemp -d)
. "$(dirname "$0")/common.sh"
jobs=()

cleanup() {
	for job in "${jobs[@]}"; do kill "$job" 2> /dev/null || true; done
	wait
	for name in host1 host2 pod1 pod2; do ip netns del "$prefix-$name" 2> /dev/null || true; done
	rm -rf "$work"
}
trap cleanup EXIT

make_node() {
	local n=$1 peer=$2 host="$prefix-host$1" pod="$prefix-pod$1"
	ip netns add "$host"
	ip netns add "$pod"
	ip -n "$host" link set lo up
	ip -n "$pod" link set lo up
	ip -n "$host" link add cni0 address "0a:58:0a:f4:0$n:01" type bridge
	ip -n "$host" addr add "10.244.$n.1/24" dev cni0
	ip -n "$host" link set cni0 up
	ip -n "$host" link add "vethpod$n" type veth peer name eth0 netns "$pod"
	ip -n "$host" link set "vethpod$n" master cni0 up
	ip -n "$pod" addr add "10.244.$n.2/24" dev eth0
	ip -n "$pod" link set eth0 up
	ip -n "$pod" route add default via "10.244.$n.1"
	ip -n "$host" addr add "fd00:244:$n::1/64" dev cni0 nodad
	ip -n "$pod" addr add "fd00:244:$n::2/64" dev eth0 nodad
	ip -n "$pod" route add default via "fd00:244:$n::1"
	within "host$n" sysctl -qw net.ipv6.conf.all.forwarding=1 net.bridge.bridge-nf-call-ip6tables=1
	within "host$n" ip6tables -t nat -A PREROUTING -d fd00:96::10 -p udp --dport 53 -j DNAT --to-destination "[fd00:244:2::2]:5353"
	within "host$n" sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
	within "host$n" iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.244.2.2:8080
	within "host$n" iptables -t nat -A PREROUTING -d 10.96.0.10 -p udp --dport 53 -j DNAT --to-destination 10.244.2.2:5353
	within "host$n" iptables -t nat -A PREROUTING -d 10.96.0.10 -p udp --dport 54 -j DNAT --to-destination 10.244.2.2:5454
	within "host$n" iptables -t nat -A PREROUTING -d 10.96.0.11 -p tcp --dport 80 -j DNAT --to-destination 10.244.1.2:8080
	within "host$n" iptables -t nat -A OUTPUT -d 10.96.0.11 -p tcp --dport 80 -j DNAT --to-destination 10.244.1.2:8080
	within "host$n" iptables -t nat -A PREROUTING -d "172.18.0.$n" -p tcp --dport 30080 -j DNAT --to-destination 10.244.1.2:8080
	within "host$n" iptables -t nat -A POSTROUTING -s "10.244.$n.0/24" ! -d 10.244.0.0/16 -j MASQUERADE
	within "host$n" iptables -t nat -A POSTROUTING -s "10.244.$n.2" -d "10.244.$n.2" -j MASQUERADE
	ip netns exec "$host" bridge link set dev "vethpod$n" hairpin on
	# A pod's packet to itself leaves through cni0 only while the bridge's neighbour entry of the pod is not confirmed: br_netfilter forwards it on the bridge
	# once it is (br_nf_pre_routing_finish_bridge). An entry that is in use is probed, and confirmed, after this many seconds: not before this is over.
	within "host$n" sysctl -qw net.ipv4.neigh.cni0.delay_first_probe_time=3600
}

make_tunnel() {
	local n=$1 peer=$2 host="$prefix-host$1"
	ip -n "$host" addr add "172.18.0.$n/24" dev eth0
	ip -n "$host" link set eth0 up
	ip -n "$host" route add default via "172.18.0.$peer"
	ip -n "$host" link add flannel.1 address "0a:00:00:00:00:0$n" type vxlan id 1 dev eth0 local "172.18.0.$n" dstport 8472 nolearning
	ip -n "$host" addr add "10.244.$n.0/32" dev flannel.1
	ip -n "$host" link set flannel.1 up
	ip -n "$host" neigh add "10.244.$peer.0" lladdr "0a:00:00:00:00:0$peer" dev flannel.1
	ip netns exec "$host" bridge fdb add "0a:00:00:00:00:0$peer" dev flannel.1 dst "172.18.0.$peer"
	ip -n "$host" route add "10.244.$peer.0/24" via "10.244.$peer.0" dev flannel.1 onlink
	ip -n "$host" neigh add "fd00:244:$peer::" lladdr "0a:00:00:00:00:0$peer" dev flannel.1
	ip -n "$host" route add "fd00:244:$peer::/64" via "fd00:244:$peer::" dev flannel.1 onlink
}

start_node() {
	nsenter "--net=/run/netns/$prefix-host$1" -- "${command[@]}" "host$1" 10.244.1.2 10.244.2.2 fd00:244:1::2 fd00:244:2::2 > "$work/host$1" 2>&1 &
	jobs+=($!)
}

if [ -e /proc/modules ]; then
	for module in veth bridge br_netfilter vxlan nf_conntrack nf_nat; do modprobe "$module" 2> /dev/null || true; done
fi
make_node 1 2
make_node 2 1
ip -n "$prefix-host1" link add eth0 type veth peer name eth0 netns "$prefix-host2"
make_tunnel 1 2
make_tunnel 2 1
within host2 iptables -A FORWARD -d 10.244.2.2 -p tcp --dport 81 -j DROP
within host2 iptables -A FORWARD -d 10.244.2.2 -p udp --dport 5454 -j REJECT --reject-with icmp-admin-prohibited
echo "network is up"

nsenter "--net=/run/netns/$prefix-pod2" -- busybox nc -ll -p 8080 -e /bin/cat &
jobs+=($!)
nsenter "--net=/run/netns/$prefix-pod1" -- busybox nc -ll -p 8080 -e /bin/cat &
jobs+=($!)
start_node 1
start_node 2
watched=("${jobs[@]}")
until_true "host1 is ready" grep -q '^{"ready"' "$work/host1"
until_true "host2 is ready" grep -q '^{"ready"' "$work/host2"
echo "both nodes trace"

within pod1 ping -q -c 2 -i 0.2 -W 10 10.244.2.2
within pod1 bash -c 'exec 3<> /dev/tcp/10.96.0.10/80; echo hello >&3; read -r -t 20 answer <&3; echo "answer: $answer"'
nsenter "--net=/run/netns/$prefix-pod1" -- bash -c ': < /dev/tcp/10.244.2.2/81' 2> /dev/null &
syn=$!
until_true "host2 tells the SYN that it drops" grep -q '"dst":{[^}]*"port":81[,}].*"drop"' "$work/host2"
kill "$syn"
within pod1 bash -c 'echo hello > /dev/udp/10.96.0.10/53'
within pod1 bash -c 'echo hello > /dev/udp/10.96.0.10/54'
within pod1 ping -q -c 1 -W 1 -t 1 10.244.2.2 || true
# One whose time is over behind the tunnel, as the Service's.
within pod1 sysctl -qw net.ipv4.ip_default_ttl=2
within pod1 bash -c 'echo hello > /dev/udp/10.96.0.10/53'
within pod1 sysctl -qw net.ipv4.ip_default_ttl=64
# Taken in by the node, and left without an answer.
within host1 sysctl -qw net.ipv4.icmp_echo_ignore_all=1
within pod1 ping -q -c 1 -W 1 10.244.1.1 || true
within host1 sysctl -qw net.ipv4.icmp_echo_ignore_all=0
# Through NAT to outside, and the port unreachable that comes back to the masqueraded address.
within pod1 ping -q -c 1 -W 10 172.18.0.2
within pod1 bash -c 'echo hello > /dev/udp/172.18.0.2/9'
# Without a way on: the packet ends where its route is an error.
ip -n "$prefix-host1" route add unreachable 198.51.100.0/24
within pod1 bash -c 'echo hello > /dev/udp/198.51.100.7/9'
within pod1 bash -c 'exec 3<> /dev/tcp/10.96.0.11/80; echo hello >&3; read -r -t 20 answer <&3; echo "from itself: $answer"'
within host1 bash -c 'exec 3<> /dev/tcp/10.96.0.11/80; echo hello >&3; read -r -t 20 answer <&3; echo "by the node itself: $answer"'
within host2 bash -c 'exec 3<> /dev/tcp/172.18.0.1/30080; echo hello >&3; read -r -t 20 answer <&3; echo "by the NodePort: $answer"'
within pod1 ping -q -c 1 -W 10 fd00:244:2::2
within pod1 ping -q -c 1 -W 1 -t 1 fd00:244:2::2 || true
within pod1 bash -c 'echo hello > /dev/udp/fd00:96::10/53'
# A datagram that does not fit through the tunnel, behind a Service; of IPv6 first, which no device with less than 1280 bytes has.
ip -n "$prefix-host1" link set flannel.1 mtu 1280
within pod1 bash -c 'head -c 1300 /dev/zero > /dev/udp/fd00:96::10/53'
ip -n "$prefix-host1" link set flannel.1 mtu 1000
within pod1 bash -c 'head -c 1300 /dev/zero > /dev/udp/10.96.0.10/53'
if [ -n "${KTRACE_CLOCK_JUMP_S:-}" ]; then
	date -s "@$(($(date +%s) + KTRACE_CLOCK_JUMP_S))"
	month=$(date -u +%Y-%m)
	# The clock is read every few seconds: another ping until one has the new time.
	has_new_time() {
		within pod1 ping -q -c 1 -W 2 10.244.2.2 > /dev/null
		grep -q "\"kind\":\"packet\".*\"time\":\"$month" "$work/$1"
	}
	until_true "host1 tells the new time" has_new_time host1
	until_true "host2 tells the new time" has_new_time host2
fi
echo "traffic is over"

watched=()
kill "${jobs[@]:2}"
until_true "host1 has told all" grep -q '^{"counts"' "$work/host1"
until_true "host2 has told all" grep -q '^{"counts"' "$work/host2"
for name in host1 host2; do
	# Whose line it is: events name their node, the rest does not.
	while IFS= read -r line; do echo "$name $line"; done < "$work/$name"
done
