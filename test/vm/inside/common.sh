# Sourced by the scripts beside it, which have set: prefix, of their namespaces' names; work, the folder that has what their processes say.

# within NAME COMMAND …: in the namespace of that name. Not `ip netns exec`: that mounts a /sys of its own.
within() {
	local name=$1
	shift
	nsenter "--net=/run/netns/$prefix-$name" -- "$@"
}

# Processes without which nothing that is waited for will come.
watched=()

all_live() {
	local pid
	for pid in "${watched[@]}"; do kill -0 "$pid" 2> /dev/null || return 1; done
}

# until_true WHAT COMMAND …: waits until the command succeeds, at most 150 s, and no longer than all that is watched lives.
until_true() {
	local what=$1 end=$((SECONDS + 150)) is_last
	shift
	while :; do
		is_last=
		# Asked first: what a process said before it ended counts.
		if ! all_live || [ "$SECONDS" -ge "$end" ]; then is_last=1; fi
		if "$@"; then return; fi
		if [ -n "$is_last" ]; then
			# Not into what a caller reads.
			echo "$what: not within 150 s, or a process has ended" >&2
			cat "$work"/* >&2
			exit 1
		fi
		sleep 0.05
	done
}
