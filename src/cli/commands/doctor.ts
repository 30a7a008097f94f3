import { hostname } from 'node:os';
import { type Command, Option } from '@commander-js/extra-typings';
import { readSettings } from '../../util/settings.ts';
import { addClusterOptions, clusterOptions } from '../options/cluster-options.ts';
import type { Done } from '../options/command.ts';
import { surroundings } from '../options/surroundings.ts';
import { readVersion } from '../options/version.ts';

/** `ktrace doctor`. */
export function addDoctor(program: Command, done: Done): void {
  const doctor = program
    .command('doctor')
    .description('what each node’s kernel allows, what is attached, what cannot be told; exits with 1 where nothing can')
    .option('--local', 'this machine, without an agent (root)')
    .addOption(new Option('-o, --output <format>', 'what is printed').choices(['text', 'json']).default('text'));
  addClusterOptions(doctor).action(async (flags) => {
    const { output } = flags;
    const { runDoctor, tellReports } = await import('../../client/doctor.ts');
    if (flags.local !== true) return done(await runDoctor({ ...clusterOptions(flags), output }, await surroundings()));
    const { localReport } = await import('./doctor-local.ts');
    const { defaultObject } = await import('../../agent/kernel/object-path.ts');
    const settings = readSettings({}, process.env);
    const report = localReport({
      node: settings.text('node') ?? hostname(),
      version: readVersion(),
      objectPath: settings.text('object') ?? defaultObject(),
      probes: settings.oneOf('probes', ['auto', 'fentry', 'kprobe', 'none']) ?? 'auto',
    });
    done(tellReports([report], output, process.stdout));
  });
}
