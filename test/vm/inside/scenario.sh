#!/bin/bash
# scenario.sh PREFIX COMMAND …: two nodes with a pod each, a Service between them, and traffic; what both nodes' kernel side tells of it on stdout. A node's kernel side is COMMAND,
# which gets the node's name and the addresses to follow, see node.ts.
#
#   PREFIX-pod1 10.244.1.2 ─ vethpod1 ─ cni0 10.244.1.1 ─ PREFIX-host1 172.18.0.1 ═ flannel.1 ═ 172.18.0.2 PREFIX-host2 ─ … ─ 10.244.2.2 PREFIX-pod2
#   Service 10.96.0.10: 80/tcp → 10.244.2.2:8080 (answers), 53/udp → 10.244.2.2:5353 (nobody listens). host2 forwards nothing to port 81.
set -eu
prefix=$1
shift
command=("$@")
work=$(mktemp -d)
jobs=()

cleanup() {
	for job in "${jobs[@]}"; do kill "$job" 2> /dev/null || true; done
	wait
	for name in host1 host2 pod1 pod2; do ip netns del "$prefix-$name" 2> /dev/null || true; done
	rm -rf "$work"
}
trap cleanup EXIT

# Not `ip netns exec`: that mounts a /sys of its own.
within() {
	local name=$1
	shift
	nsenter "--net=/run/netns/$prefix-$name" -- "$@"
}

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
	within "host$n" sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
	within "host$n" iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 10.244.2.2:8080
	within "host$n" iptables -t nat -A PREROUTING -d 10.96.0.10 -p udp --dport 53 -j DNAT --to-destination 10.244.2.2:5353
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
}

# until_true WHAT COMMAND …: waits at most 150 s, and while $running background processes live.
running=0
until_true() {
	local what=$1 end=$((SECONDS + 150))
	shift
	until "$@"; do
		if [ "$SECONDS" -ge "$end" ] || [ "$(jobs -rp | wc -l)" -lt "$running" ]; then
			echo "$what: not within 150 s, or a process has ended"
			cat "$work"/*
			exit 1
		fi
		sleep 0.05
	done
}

start_node() {
	nsenter "--net=/run/netns/$prefix-host$1" -- "${command[@]}" "host$1" 10.244.1.2 10.244.2.2 > "$work/host$1" 2>&1 &
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
echo "network is up"

nsenter "--net=/run/netns/$prefix-pod2" -- busybox nc -ll -p 8080 -e /bin/cat &
jobs+=($!)
start_node 1
start_node 2
running=3
until_true "host1 is ready" grep -q '^{"ready"' "$work/host1"
until_true "host2 is ready" grep -q '^{"ready"' "$work/host2"
echo "both nodes trace"

within pod1 ping -q -c 2 -i 0.2 -W 10 10.244.2.2
within pod1 bash -c 'exec 3<> /dev/tcp/10.96.0.10/80; echo hello >&3; read -r -t 20 answer <&3; echo "answer: $answer"'
within pod1 timeout 1 bash -c ': < /dev/tcp/10.244.2.2/81' 2> /dev/null || true
within pod1 bash -c 'echo hello > /dev/udp/10.96.0.10/53'
within pod1 ping -q -c 1 -W 1 -t 1 10.244.2.2 || true
echo "traffic is over"

running=0
kill "${jobs[@]:1}"
until_true "host1 has told all" grep -q '^{"counts"' "$work/host1"
until_true "host2 has told all" grep -q '^{"counts"' "$work/host2"
for name in host1 host2; do
	# Whose line it is: events name their node, the rest does not.
	while IFS= read -r line; do echo "$name $line"; done < "$work/$name"
done
