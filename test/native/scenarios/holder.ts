import { loadNative } from '../../../src/native/load.ts';
import { objectPath } from '../support.ts';
import { indexOf } from './network.ts';

// Attaches as the first argument says, on the interface of the second, and ends as the third says, without closing anything.

const [how, name, end] = process.argv.slice(2) as ['tcx' | 'clsact', string, 'wait' | 'exit' | 'throw' | 'return'];
const object = loadNative().openObject(objectPath('good'));
object.attachTc('on_packet', indexOf(name), 'in', how);
object.attachTc('on_packet', indexOf(name), 'out', how);
process.stdout.write(`${object.programInfo('on_packet').id}\n`);
if (end === 'wait') setInterval(() => object.programs(), 1000);
if (end === 'exit') process.exit(0);
if (end === 'throw') throw new Error('on purpose');
