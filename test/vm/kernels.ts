/** A kernel of Debian that the programs must run on, besides the machine's own. `package` may be a metapackage: its newest image is taken. */
export interface Kernel {
  name: string;
  package: string;
}

export const KERNELS: readonly Kernel[] = [{ name: 'Debian 12, Linux 6.1', package: 'linux-image-amd64' }];
