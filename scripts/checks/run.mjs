import { spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';

/**
 * Runs a tool, those of node_modules first, and gives how it ended and all it said on stdout and stderr, in order.
 * @returns {Promise<{ code: number, text: string }>} a tool that is missing or dies by a signal ends with 1
 */
export function run(root, tool, args) {
  const env = { ...process.env, PATH: `${join(root, 'node_modules/.bin')}${delimiter}${process.env.PATH}` };
  return new Promise((resolve) => {
    const child = spawn(tool, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk) => {
        text += chunk;
      });
    }
    child.on('error', (error) => resolve({ code: 1, text: `${tool}: ${error.message}` }));
    child.on('close', (code) => resolve({ code: code ?? 1, text }));
  });
}
