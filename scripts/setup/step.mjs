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
        const said = `${stdout}${stderr}`.trim().split('\n').slice(-60).join('\n');
        reject(new SetupError(`${said}\n${file} ${args.join(' ')} failed (${error.code ?? error.signal})`));
      },
    );
    child.stdin?.end();
  });
}
