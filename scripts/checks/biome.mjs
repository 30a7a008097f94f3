import { execFile } from 'node:child_process';
import { join } from 'node:path';

/**
 * Runs Biome with its JSON reporter.
 * @returns {Promise<{ diagnostics: { rule: string, path: string, line: number }[] }>}
 */
export function biome(root, args) {
  return new Promise((resolve, reject) => {
    execFile(
      join(root, 'node_modules/.bin/biome'),
      [...args, '--reporter=json'],
      { cwd: root, maxBuffer: 64 << 20 },
      (_error, stdout, stderr) => {
        try {
          const { diagnostics } = JSON.parse(stdout);
          resolve({
            diagnostics: diagnostics.map(({ category, location }) => ({
              rule: category,
              path: location.path,
              line: location.start.line,
            })),
          });
        } catch (cause) {
          reject(new Error(`biome gave no report: ${stderr}`, { cause }));
        }
      },
    );
  });
}
