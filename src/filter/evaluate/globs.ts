/** Does the whole text fit the pattern, in which `*` stands for any characters and `?` for one? In time proportional to both lengths. */
export function matchesGlob(pattern: string, text: string): boolean {
  let [at, read] = [0, 0];
  /** Behind the last star, and up to where it reaches. */
  let star: { behind: number; reach: number } | undefined;
  while (read < text.length) {
    const wanted = pattern[at];
    if (wanted === '*') {
      star = { behind: ++at, reach: read };
    } else if (wanted === '?' || wanted === text[read]) {
      at += 1;
      read += 1;
    } else if (star !== undefined) {
      star.reach += 1;
      at = star.behind;
      read = star.reach;
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}
