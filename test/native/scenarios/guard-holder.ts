import { loadNative } from '../../../src/native/load.ts';

// Guards the file of the first argument until it ends as the second says, without closing anything; tells the guard's process id.

const [path, end] = process.argv.slice(2) as [string, 'wait' | 'exit' | 'throw'];
const guard = loadNative().guardFile(path, '7', '0');
process.stdout.write(`${guard.pid()}\n`);
if (end === 'wait') setInterval(() => guard.pid(), 1000);
if (end === 'exit') process.exit(0);
if (end === 'throw') throw new Error('on purpose');
