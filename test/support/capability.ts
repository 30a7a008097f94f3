/** What a machine may lack for tests: rights over network and kernel; an emulated machine with the packages that it needs; tcpdump to be compared with. */
export type Capability = 'root' | 'vm' | 'tcpdump';

/**
 * For a test's `skip`: why it cannot run here. Throws where `KTRACE_REQUIRE` (names with commas between) wants the capability:
 * there what is missing fails, and no layer is green because nothing of it ran.
 */
export function capability(name: Capability, lacking: string | false): string | false {
  if (lacking === false) return false;
  const required = (process.env['KTRACE_REQUIRE'] ?? '').split(',');
  if (required.includes(name)) throw new Error(`KTRACE_REQUIRE wants ${name} here, but the test ${lacking}`);
  return lacking;
}

/** For the skip of a test that only root can run. */
export function needsRoot(what: string): string | false {
  return capability('root', process.getuid?.() !== 0 && `needs root: ${what}`);
}
