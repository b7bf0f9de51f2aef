package weir.peers;

/** The service of the tests. */
public interface Hello {
    /** The name of the provider that answers, after a time in milliseconds. */
    String who(int afterMillis);
}
