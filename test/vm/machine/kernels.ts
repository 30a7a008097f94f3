/** A kernel of Debian that the programs must run on, besides the machine's own. `package` may be a metapackage: its newest image is taken. */
export interface Kernel {
  name: string;
  package: string;
}

const asked = process.env['KTRACE_TEST_VM_KERNEL'];

/** Another line is another kernel in every run; KTRACE_TEST_VM_KERNEL is the package of one that is tried instead. */
export const KERNELS: readonly Kernel[] = asked
  ? [{ name: asked, package: asked }]
  : [{ name: 'Debian 12, Linux 6.1', package: 'linux-image-amd64' }];
