/**
 * Runs in a node's namespace: attaches a program that does nothing, at both directions of the interfaces named as arguments, until its
 * stdin ends. Says `attached` with the program's id; what attached programs cost is measured against this one.
 */
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { loadNative } from '../../src/native/load.ts';

const native = loadNative();
const object = native.openObject(fileURLToPath(new URL('../../build/bpf/ktrace.bpf.o', import.meta.url)), {
  mapSizes: { sightings: 4096 },
});
const how = native.tcxSupported() ? 'tcx' : 'clsact';
for (const ifindex of process.argv.slice(2).map(Number)) {
  for (const direction of ['in', 'out'] as const) object.attachTc('ktrace_empty', ifindex, direction, how);
}
process.stdout.write(`attached ${object.programInfo('ktrace_empty').id}\n`);
process.stdin.resume();
await once(process.stdin, 'end');
object.close();
