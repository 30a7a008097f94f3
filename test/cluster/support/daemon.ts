import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Keeps what is needed to start a daemon again, then kills it. */
const KILL = `
  pid=$(pgrep -ox "$1") || exit 1
  cp /proc/$pid/cmdline /run/ktrace-test-$1.argv; cp /proc/$pid/environ /run/ktrace-test-$1.env
  readlink /proc/$pid/fd/1 >/run/ktrace-test-$1.log
  kill -KILL $pid`;
/** With the same words, environment and log. */
const START = `
  mapfile -d '' argv </run/ktrace-test-$1.argv; mapfile -d '' env </run/ktrace-test-$1.env; log=$(cat /run/ktrace-test-$1.log)
  setsid env -i "\${env[@]}" "\${argv[@]}" >>"$log" 2>&1 </dev/null &
  rm -f /run/ktrace-test-$1.argv /run/ktrace-test-$1.env /run/ktrace-test-$1.log`;

/**
 * A daemon of a node that the tool brought (`kubelet`, `containerd`) is killed, and started again as it was by what is given: nothing
 * on such a node watches over it. Not by way of a pod: pods' commands go through the daemon.
 */
export async function killDaemon(tool: string, node: string, name: string): Promise<() => Promise<void>> {
  const onNode = (script: string) =>
    promisify(execFile)(tool, ['node', node, 'bash', '-c', script, 'bash', name], { timeout: 30_000 });
  await onNode(KILL);
  return async () => {
    await onNode(START);
  };
}
