/** A file or folder as sshd looks at it. */
export interface PathFact {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  /** The permission bits, with sticky, setuid and setgid. */
  readonly mode: number;
  readonly kind: 'file' | 'folder' | 'other';
}

/** A key file without links, and the folders above it, the nearest first, up to the home folder or to `/`. */
export interface KeyPath {
  readonly file: PathFact;
  readonly folders: readonly PathFact[];
}

/** Why sshd does not use a key file. */
export interface KeyPathFault {
  readonly at: PathFact;
  readonly why: string;
  /** What mends it. */
  readonly command: string;
}

const OTHERS_MAY_WRITE = 0o022;

/**
 * What StrictModes says of a key file of the user with this uid: the file and every folder up to the home belong to
 * that user or to root, and nobody else may write there (OpenSSH, misc.c, safe_path). Null where all is well. Pure.
 */
export function strictModesFault({ file, folders }: KeyPath, uid: number): KeyPathFault | null {
  if (file.kind !== 'file') return { at: file, why: 'it is not a regular file', command: `ls -ld ${file.path}` };
  for (const at of [file, ...folders]) {
    if (at.uid !== 0 && at.uid !== uid) {
      return { at, why: `it belongs to user ${at.uid}`, command: `chown ${uid} ${at.path}` };
    }
    if ((at.mode & OTHERS_MAY_WRITE) !== 0) {
      return { at, why: `others may write to it (mode ${octal(at.mode)})`, command: `chmod go-w ${at.path}` };
    }
  }
  return null;
}

/**
 * What keeps this user from opening the file: sshd reads it as the user, not as root. Null where nothing does.
 * Access lists beyond the permission bits are not looked at. Pure.
 */
export function unreadableFault(
  { file, folders }: KeyPath,
  { uid, gids }: { readonly uid: number; readonly gids: readonly number[] },
): KeyPathFault | null {
  if (uid === 0) return null;
  const may = ({ uid: owner, gid, mode }: PathFact, bit: number) => {
    const shift = owner === uid ? 6 : gids.includes(gid) ? 3 : 0;
    return (mode & (bit << shift)) !== 0;
  };
  const closed = folders.find((folder) => !may(folder, 0o1));
  if (closed !== undefined) {
    const why = `the user may not pass through it (owner ${closed.uid}, mode ${octal(closed.mode)})`;
    return { at: closed, why, command: `chown ${uid} ${closed.path}` };
  }
  if (may(file, 0o4)) return null;
  const why = `the user may not read it (owner ${file.uid}, mode ${octal(file.mode)})`;
  return { at: file, why, command: `chown ${uid} ${file.path}` };
}

/** `0644`. */
export function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}
