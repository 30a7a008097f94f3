/** Second reporter beside knip's own: a run that looked at no file is a failure. */
export default function report({ counters }) {
  process.stdout.write(`knip looked at ${counters.processed} files\n`);
  if (!(counters.processed > 0)) process.exitCode = 1;
}
