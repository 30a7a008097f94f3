#!/bin/bash
# end-to-end.sh KTRACE SECONDS: the lab as `KTRACE lab up` brings it, with agents, gates and API server; what its users see. On stdout `event JSON` of a follow of everything
# for so many seconds, `said TEXT` of its summary, `doctor JSON` of each node, and `left NAME` of each namespace that is there after `lab down`.
set -eu
ktrace=$1
seconds=$2
work=$(mktemp -d)
unset KUBECONFIG
for module in veth bridge br_netfilter vxlan nf_conntrack nf_nat; do modprobe "$module"; done
cleanup() {
	"$ktrace" lab down
	ip netns list | sed 's/^/left /'
	rm -rf "$work"
}
trap cleanup EXIT
"$ktrace" lab up
"$ktrace" follow -A -o json --for "${seconds}s" > "$work/events" 2> "$work/said" || cat "$work/said"
sed 's/^/event /' "$work/events"
sed 's/^/said /' "$work/said"
"$ktrace" doctor -o json > "$work/doctor"
sed 's/^/doctor /' "$work/doctor"
