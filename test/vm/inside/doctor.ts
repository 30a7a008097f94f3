/** `doctor.ts OBJECT BACKEND` in a node's network namespace: what `ktrace doctor --local -o json` says there; exits with 1 when it does not work. */
import { writeSync } from 'node:fs';
import type { ProbesOptions } from '../../../src/agent/kernel/probes/probes.ts';
import { localReport } from '../../../src/cli/commands/doctor-local.ts';

const [objectPath = '', backend = 'auto'] = process.argv.slice(2);
const report = localReport({ node: 'host1', version: 'test', objectPath, probes: backend as ProbesOptions['backend'] });
writeSync(1, `${JSON.stringify(report)}\n`);
process.exit(report.works ? 0 : 1);
