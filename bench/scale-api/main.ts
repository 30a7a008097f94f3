/**
 * `npm run bench:scale-api [-- --size PODS/SERVICES/ENDPOINTS/NODES …] [--own N] [--changes N] [--seconds N]
 * [--fill] [--keep] [--json FILE]`: what an agent
 * takes in a large cluster, on the API server that `KUBECONFIG` names, which is filled with that many objects. `--keep` leaves
 * the objects there for the next run, `--fill` writes them and measures nothing. The report on stdout.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { messageOf } from '../../src/util/errors.ts';
import type { Size } from './cluster.ts';
import { measureScaleApi, type ScaleResult } from './measure.ts';
import { scaleApiText } from './report.ts';

const DEFAULT_SIZES = ['20000/2000/20000/667', '20000/10000/150000/5000'];

const { values } = parseArgs({
  options: {
    size: { type: 'string', multiple: true, default: DEFAULT_SIZES },
    own: { type: 'string', default: '110' },
    changes: { type: 'string', default: '100' },
    seconds: { type: 'string', default: '60' },
    keep: { type: 'boolean', default: false },
    fill: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});
const abort = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.once(signal, () => abort.abort(new Error(`interrupted by ${signal}`)));
const results: ScaleResult[] = [];
try {
  const options = {
    sizes: values.size.map(parseSize),
    ownPods: whole('--own', values.own),
    changesPerS: whole('--changes', values.changes),
    seconds: whole('--seconds', values.seconds),
    isKept: values.keep,
    isFilledOnly: values.fill,
    signal: abort.signal,
  };
  const progress = (text: string) => void process.stderr.write(`bench: ${text}\n`);
  await measureScaleApi(options, progress, (result) => results.push(result));
} catch (error) {
  process.stderr.write(`bench: ${messageOf(error)}\n`);
  process.exitCode = 1;
}
// Also after a failure, of taking everything away for one: what was measured took minutes.
if (results.length > 0) {
  process.stdout.write(scaleApiText(results));
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, null, 2)}\n`);
}

function parseSize(text: string): Size {
  const [pods = Number.NaN, services = 0, endpoints = 0, nodes = 0, ...rest] = text.split('/').map(Number);
  const isWhole = [pods, services, endpoints, nodes].every((one) => Number.isSafeInteger(one) && one >= 0);
  if (!isWhole || rest.length > 0 || nodes === 0)
    throw new Error(`Expected PODS/SERVICES/ENDPOINTS/NODES for --size, such as ${DEFAULT_SIZES[0]}, got ${text}`);
  return { pods, services, endpoints, nodes };
}

function whole(name: string, text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new Error(`Expected a whole number of at least 1 for ${name}, got ${text}`);
  return value;
}
