import { spawn } from 'node:child_process';
import { KtraceError } from '../../util/errors.ts';

/**
 * Runs a program to its end and gives its standard output.
 *
 * @param input text for its standard input
 * @throws KtraceError `KTRACE_E_LAB_COMMAND` when it cannot be started or exits non-zero, with what it said on stderr
 */
export function run(argv: readonly string[], options: { input?: string; cwd?: string } = {}): Promise<string> {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: toolEnvironment(), cwd: options.cwd });
    let out = '';
    let err = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      out += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
    });
    child.on('error', (cause) =>
      reject(
        new KtraceError('KTRACE_E_LAB_COMMAND', `${program} cannot be started: ${cause.message}`, {
          hint: 'Run `npm run setup`: the lab needs iproute2, iptables, redis-server, iputils-ping, openssl and util-linux.',
          cause,
        }),
      ),
    );
    child.on('close', (code, signal) => {
      if (code === 0) resolve(out);
      else reject(new KtraceError('KTRACE_E_LAB_COMMAND', failure(argv, code, signal, err)));
    });
    // A program that ends before it has read its input closes the pipe; its exit code tells why.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input ?? '');
  });
}

/** The environment for system tools: Debian keeps `ip` and `iptables` where a plain user's PATH does not look. */
export function toolEnvironment(): NodeJS.ProcessEnv {
  return { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin` };
}

function failure(argv: readonly string[], code: number | null, signal: string | null, err: string): string {
  const command = argv.join(' ').slice(0, 200);
  return `${command}: ended with ${signal ?? `exit code ${code}`}${err === '' ? '' : `: ${err.trim().slice(-1000)}`}`;
}
