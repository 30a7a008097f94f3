import { execFile } from 'node:child_process';

/** A set-up that cannot go on by itself: the message is the one thing a person has to read. */
export class SetupError extends Error {}

/**
 * Runs one piece of set-up and tells it on stderr as one line with its time.
 * @param {string} title
 * @param {() => Promise<unknown>} work
 */
export async function step(title, work) {
  const start = process.hrtime.bigint();
  process.stderr.write(`setup: ${title} … `);
  try {
    await work();
  } catch (error) {
    process.stderr.write('failed\n');
    throw error;
  }
  process.stderr.write(`${(Number(process.hrtime.bigint() - start) / 1e9).toFixed(1)} s\n`);
}

/**
 * Runs a command and gives its stdout; what it said is shown only when it fails, as a SetupError.
 * @param {string} file
 * @param {string[]} args
 * @param {{ cwd?: string, env?: Record<string, string | undefined> }} options
 * @returns {Promise<string>}
 */
export function command(file, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = execFile(
      file,
      args,
      { cwd: options.cwd, env: { ...process.env, ...options.env }, maxBuffer: 64 << 20 },
      (error, stdout, stderr) => {
        if (error === null) return resolve(stdout);
        reject(
          new SetupError(`${shortened(`${stdout}${stderr}`)}\n${file} ${args.join(' ')} failed (${error.code ?? error.signal})`),
        );
      },
    );
    child.stdin?.end();
  });
}

/** The beginning often names the cause, the end what came of it. */
function shortened(text) {
  const lines = text.trim().split('\n');
  return (lines.length <= 80 ? lines : [...lines.slice(0, 30), '[…]', ...lines.slice(-50)]).join('\n');
}
