import { spawn } from 'node:child_process';

/** A command of the run failed: the message has what it said. */
export class ClusterError extends Error {}

/**
 * How commands reach the cluster: through the tool that brought it, else by the kubeconfig of the environment.
 * @param {{ tool?: string, signal: AbortSignal }} options when `signal` is aborted, what runs is ended
 */
export function access({ tool, signal }) {
  const beside = tool === undefined ? [] : [tool, 'exec'];
  return {
    tool,
    /** @param {string[]} args of the tool */
    cluster: (args, timeoutMs) => run([tool, ...args], { signal, timeoutMs }),
    /** @param {string[]} args of kubectl @param {string} [input] its stdin */
    kubectl: (args, input, timeoutMs = 60_000) => run([...beside, 'kubectl', ...args], { signal, input, timeoutMs }),
  };
}

/** A command's stdout. Ended with all its children when it takes too long. */
function run([program, ...args], { signal, input = '', timeoutMs }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { detached: true, stdio: ['pipe', 'pipe', 'pipe'] });
    const end = () => kill(child.pid, 'SIGTERM');
    const timer = setTimeout(end, timeoutMs);
    signal.addEventListener('abort', end);
    let stdout = '';
    let all = '';
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
      all = `${all}${chunk}`.slice(-8192);
    });
    child.stderr.on('data', (chunk) => {
      all = `${all}${chunk}`.slice(-8192);
    });
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    child.on('error', reject);
    child.on('close', (code, by) => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      if (code === 0) resolve(stdout);
      else reject(new ClusterError(`${all.trim()}\n${program} ${args.join(' ')} ended with ${code ?? by}`));
    });
  });
}

function kill(pid, signal) {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}
