import { hostname } from 'node:os';
import { defaultObject } from '../../agent/kernel/object-path.ts';
import { runDoctor, tellReports } from '../../client/doctor.ts';
import { findStandingLab } from '../../lab/machine/state.ts';
import { readSettings } from '../../util/settings.ts';
import { clusterOptions } from '../options/cluster-options.ts';
import { interruption } from '../options/interruption.ts';
import { readVersion } from '../options/version.ts';

/** `ktrace doctor`: the flags as the parser gives them; the exit code. */
export async function doctorCommand(flags: Record<string, unknown>): Promise<number> {
  const output = flags['output'] as 'text' | 'json';
  if (flags['local'] === true) {
    const { localReport } = await import('./doctor-local.ts');
    const settings = readSettings({}, process.env);
    const report = localReport({
      node: settings.text('node') ?? hostname(),
      version: readVersion(),
      objectPath: settings.text('object') ?? defaultObject(),
      probes: settings.oneOf('probes', ['auto', 'fentry', 'kprobe', 'none']) ?? 'auto',
    });
    return tellReports([report], output, process.stdout);
  }
  return runDoctor(
    { ...clusterOptions(flags), output },
    { stdout: process.stdout, stderr: process.stderr, interrupt: interruption(), findLab: () => findStandingLab() },
  );
}
