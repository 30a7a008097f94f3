/**
 * Takes the entries that have been in a map for longest out of it where it has more than so many; a sixteenth more at once, because a map looks past
 * what was deleted at its front each time.
 */
export function dropOldest<K, V>(map: Map<K, V>, most: number, dropped: (key: K, value: V) => void = () => undefined): void {
  if (map.size <= most) return;
  let surplus = map.size - most + Math.floor(most / 16);
  for (const [key, value] of map) {
    if (surplus === 0) return;
    surplus -= 1;
    map.delete(key);
    dropped(key, value);
  }
}
