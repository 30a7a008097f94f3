#!/usr/bin/env bash
# A kube-apiserver with its etcd and nothing else, in a network namespace of their own, for as long as a command runs:
#   with-api-server.sh FOLDER COMMAND...
# FOLDER has `etcd` and `kube-apiserver` of a Kubernetes release. The command finds the server by KUBECONFIG. Needs root and openssl.
set -euo pipefail
[ $# -ge 2 ] || { echo "Expected a folder with etcd and kube-apiserver, and a command" >&2; exit 2; }
bin=$(readlink -f "$1")
for program in etcd kube-apiserver; do
  [ -x "$bin/$program" ] || { echo "Expected the program $program in $bin, found none" >&2; exit 2; }
done
if [ -z "${KTRACE_SCALE_INSIDE:-}" ]; then KTRACE_SCALE_INSIDE=1 exec unshare --net "$(readlink -f "$0")" "$@"; fi
unset KTRACE_SCALE_INSIDE
shift
address=192.0.2.10 # TEST-NET-1 (RFC 5737): nobody's
home=$(mktemp -d)
started=()
finish() {
  for pid in "${started[@]}"; do kill -9 "$pid" 2>/dev/null || true; done
  rm -rf "$home"
}
trap finish EXIT
# So that an interruption ends the command first, and this script then cleans up.
trap : INT TERM

ip link set lo up
ip link add uplink type bridge
ip addr add $address/24 dev uplink
ip link set uplink up

cd "$home"
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=scale-ca 2>/dev/null
openssl genrsa -out sa.key 2048 2>/dev/null
certificate() { # NAME SUBJECT
  openssl req -newkey rsa:2048 -nodes -keyout "$1.key" -out "$1.csr" -subj "$2" 2>/dev/null
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1,IP:%s\n' $address) 2>/dev/null
}
certificate server /CN=kube-apiserver
certificate admin /O=system:masters/CN=scale-admin
cat >kubeconfig <<E
apiVersion: v1
kind: Config
current-context: scale
clusters: [{name: scale, cluster: {server: "https://$address:6443", certificate-authority: $home/ca.crt}}]
users: [{name: admin, user: {client-certificate: $home/admin.crt, client-key: $home/admin.key}}]
contexts: [{name: scale, context: {cluster: scale, user: admin}}]
E

"$bin/etcd" --data-dir "$home/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
  --unsafe-no-fsync --quota-backend-bytes=8000000000 >etcd.log 2>&1 &
started+=($!)
# Limits on requests in flight are off: what is measured is the agent, and thousands of objects have to be made first.
"$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=10.96.0.0/12 --advertise-address=$address \
  --tls-cert-file=server.crt --tls-private-key-file=server.key --client-ca-file=ca.crt --authorization-mode=RBAC \
  --service-account-key-file=sa.key --service-account-signing-key-file=sa.key \
  --service-account-issuer=https://kubernetes.default.svc --enable-priority-and-fairness=false \
  --max-requests-inflight=0 --max-mutating-requests-inflight=0 >kube-apiserver.log 2>&1 &
started+=($!)
ready() { curl -sf --cacert ca.crt --cert admin.crt --key admin.key "https://$address:6443/readyz" >/dev/null; }
for _ in $(seq 600); do
  if ready; then break; fi
  kill -0 "${started[0]}" "${started[1]}" 2>/dev/null || { tail -n 5 etcd.log kube-apiserver.log >&2; exit 1; }
  sleep 0.2
done
ready || { echo "kube-apiserver is not ready after 2 minutes" >&2; tail -n 5 kube-apiserver.log >&2; exit 1; }
cd "$OLDPWD"
status=0
KUBECONFIG=$home/kubeconfig "$@" || status=$?
exit "$status"
