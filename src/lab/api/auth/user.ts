/** A user as TokenReview tells of one. */
export interface User {
  username: string;
  uid: string;
  groups: string[];
  extra?: Record<string, string[]>;
}

/** Who comes without any credentials. */
export const ANONYMOUS: User = { username: 'system:anonymous', uid: '', groups: ['system:unauthenticated'] };
