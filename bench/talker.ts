import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** A child process that says on stdout, line by line, how far it is. */
export interface Talker {
  pid: number | undefined;
  /** The next line, or one said already and not taken yet, that fits. Rejects when the child ends before. */
  line(fits: (line: string) => boolean): Promise<string>;
  /** Closes its stdin, which asks it to end, and waits until it has. */
  ended(): Promise<void>;
}

export function startTalker(argv: readonly string[]): Talker {
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const lines: string[] = [];
  let rest = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    lines.push(...parts);
    child.emit('said');
  });
  return {
    pid: child.pid,
    async line(fits) {
      for (;;) {
        const at = lines.findIndex(fits);
        const found = lines[at];
        if (found !== undefined) {
          lines.splice(0, at + 1);
          return found;
        }
        const isOver = await Promise.race([once(child, 'said').then(() => false), exited.then(() => true)]);
        if (isOver && !lines.some(fits)) throw new Error(`${argv.join(' ')} ended with ${child.exitCode ?? child.signalCode}`);
      }
    },
    async ended() {
      child.stdin.end();
      await exited;
    },
  };
}
