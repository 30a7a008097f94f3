#!/bin/bash
# probes.sh PREFIX TRACE DOCTOR OBJECT REFUSED-OBJECT REFUSE: what only a kernel with modules and kprobes can show. A node whose nf_conntrack and nf_nat are
# loaded while it is traced by `TRACE OBJECT`, with a tunnel of IPIP and a Service of IPVS; then the same node as `DOCTOR OBJECT BACKEND` sees it with less and less allowed. On stdout `host1 JSON` as
# scenario.sh has it, and `doctor CASE CODE JSON`.
#
#   PREFIX-pod1 10.244.1.2 ─ vethpod1 ─ PREFIX-host1 172.18.0.1 ─ eth0 ═ tunl0 ═ eth0 ─ 172.18.0.2 PREFIX-host2 (10.244.2.1 on its tunl0)
#   Service 10.96.0.10: 80/tcp → 172.18.0.2:8080 (nobody listens: it refuses); 10.96.0.11: the same by IPVS, its address on kube-ipvs0, as kube-proxy does it
set -eu
prefix=$1
read -ra trace <<< "$2"
read -ra doctor <<< "$3"
object=$4
refused=$5
refuse=$6
work=$(mktemp -d)
. "$(dirname "$0")/common.sh"
tracer=

cleanup() {
	[ -z "$tracer" ] || kill "$tracer" 2> /dev/null || true
	wait
	for name in host1 host2 pod1; do ip netns del "$prefix-$name" 2> /dev/null || true; done
	rm -rf "$work"
}
trap cleanup EXIT

# examine CASE COMMAND …: as an agent with other rights would see the node. Beside the others until `told`: most of it is one processor's work.
examined=()
examine() {
	local name=$1
	shift
	examined+=("$name")
	(
		code=0
		within host1 "$@" > "$work/$name" 2> "$work/$name.said" || code=$?
		echo "$code" > "$work/$name.code"
	) &
}
told() {
	local name
	wait
	for name in "${examined[@]}"; do
		echo "doctor $name $(cat "$work/$name.code") $(cat "$work/$name")"
		sed "s/^/$name: /" "$work/$name.said"
	done
	examined=()
}

for module in veth ipip; do modprobe "$module"; done
for name in host1 host2 pod1; do
	ip netns add "$prefix-$name"
	ip -n "$prefix-$name" link set lo up
done
ip -n "$prefix-host1" link add vethpod1 type veth peer name eth0 netns "$prefix-pod1"
ip -n "$prefix-host1" link add eth0 type veth peer name eth0 netns "$prefix-host2"
ip -n "$prefix-host1" link set vethpod1 up
ip -n "$prefix-host1" addr add 10.244.1.1/24 dev vethpod1
ip -n "$prefix-pod1" link set eth0 up
ip -n "$prefix-pod1" addr add 10.244.1.2/24 dev eth0
ip -n "$prefix-pod1" route add default via 10.244.1.1
for n in 1 2; do
	ip -n "$prefix-host$n" link set eth0 up
	ip -n "$prefix-host$n" addr add "172.18.0.$n/24" dev eth0
	ip -n "$prefix-host$n" route add default via "172.18.0.$((3 - n))"
	ip -n "$prefix-host$n" link set tunl0 up
	ip -n "$prefix-host$n" addr add "10.244.$n.1/32" dev tunl0
done
ip -n "$prefix-host1" route add 10.244.2.0/24 via 172.18.0.2 dev tunl0 onlink
ip -n "$prefix-host2" route add 10.244.1.0/24 via 172.18.0.1 dev tunl0 onlink
within host1 sysctl -qw net.ipv4.ip_forward=1
echo "network is up"

nsenter "--net=/run/netns/$prefix-host1" -- "${trace[@]}" "$object" host1 10.244.1.2 > "$work/host1" 2>&1 &
tracer=$!
watched=("$tracer")
until_true "host1 is ready" grep -q '^{"ready"' "$work/host1"
grep -q '^nf_conntrack ' /proc/modules && echo "nf_conntrack is loaded already"
grep -q '^nf_nat ' /proc/modules && echo "nf_nat is loaded already"
within pod1 ping -q -c 1 -W 10 10.244.2.1
within host1 iptables -t nat -A PREROUTING -d 10.96.0.10 -p tcp --dport 80 -j DNAT --to-destination 172.18.0.2:8080
until_true "nf_nat is seen" grep -q '"name":"nat","backend":"[a-z]*","state":"on"' "$work/host1"
within pod1 bash -c ': < /dev/tcp/10.96.0.10/80' 2> /dev/null || true
for module in dummy ip_vs ip_vs_rr; do modprobe "$module"; done
within host1 sysctl -qw net.ipv4.vs.conntrack=1
ip -n "$prefix-host1" link add kube-ipvs0 type dummy
ip -n "$prefix-host1" addr add 10.96.0.11/32 dev kube-ipvs0
within host1 ipvsadm -A -t 10.96.0.11:80 -s rr
within host1 ipvsadm -a -t 10.96.0.11:80 -r 172.18.0.2:8080 -m
within pod1 bash -c ': < /dev/tcp/10.96.0.11/80' 2> /dev/null || true
within host1 ipvsadm -C
ip -n "$prefix-host1" link del kube-ipvs0
kill "$tracer"
until_true "host1 has told all" grep -q '^{"counts"' "$work/host1"
tracer=
sed 's/^/host1 /' "$work/host1"

# The same node as host3, which tells of one sighting a second.
KTRACE_POD_RATE=1 nsenter "--net=/run/netns/$prefix-host1" -- "${trace[@]}" "$object" host3 10.244.1.2 > "$work/host3" 2>&1 &
tracer=$!
watched=("$tracer")
until_true "host3 is ready" grep -q '^{"ready"' "$work/host3"
within pod1 ping -f -q -c 1500 -W 1 10.244.1.1
kill "$tracer"
until_true "host3 has told all" grep -q '^{"counts"' "$work/host3"
tracer=
sed 's/^/host3 /' "$work/host3"

only() { echo "-all$(printf ',+%s' "$@")"; }
examine everything "${doctor[@]}" "$object" auto
examine by-kprobe "${doctor[@]}" "$object" kprobe
examine no-sys-admin setpriv --inh-caps=-all --bounding-set "$(only bpf perfmon net_admin)" "${doctor[@]}" "$object" auto
told
# Debian's own default is above what PERFMON is enough for.
sysctl -qw kernel.perf_event_paranoid=2
examine no-sys-admin-but-kprobes setpriv --inh-caps=-all --bounding-set "$(only bpf perfmon net_admin)" "${doctor[@]}" "$object" auto
examine no-perf-event-open "$refuse" "${doctor[@]}" "$object" kprobe
examine refused-program "${doctor[@]}" "$refused" auto
examine no-perfmon setpriv --inh-caps=-all --bounding-set "$(only bpf net_admin)" "${doctor[@]}" "$object" auto
told
