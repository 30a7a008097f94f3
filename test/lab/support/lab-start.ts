import { labUp } from '../../../src/lab/up.ts';

/** Brings a lab up and tells its stages on stdout, for a test that kills it on the way: `lab-start.ts NAME ROOT`. */
const [name = '', root = ''] = process.argv.slice(2);
await labUp({ name, root, agents: false, progress: (text) => process.stdout.write(`${text}\n`) });
