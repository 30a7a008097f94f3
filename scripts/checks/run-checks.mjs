import { CHECKS } from './checks.mjs';

/**
 * Runs checks by name, tells each one's outcome on stdout and counts.
 * @param {string} root
 * @param {string[]} names
 * @returns {Promise<{ passed: number, failed: number, seconds: number }>}
 */
export async function runChecks(root, names) {
  let failed = 0;
  const startMs = performance.now();
  for (const name of names) {
    const start = performance.now();
    const { checked, problems } = await CHECKS[name](root).catch((error) => ({ checked: 0, problems: [error.stack] }));
    const all = checked > 0 ? problems : [...problems, 'looked at nothing'];
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    process.stdout.write(`${all.length === 0 ? 'ok' : 'not ok'} ${name} (${checked} looked at, ${seconds} s)\n`);
    for (const problem of all) process.stdout.write(`${problem.trim().replaceAll(/^/gm, '    ')}\n`);
    if (all.length > 0) failed++;
  }
  return { passed: names.length - failed, failed, seconds: (performance.now() - startMs) / 1000 };
}
