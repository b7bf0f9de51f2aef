package weir.peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;

/**
 * Repeats a call. With calls=N, N times; else until standard input says "exit" or ends, and "pause" and "resume" stop it in
 * between. Milliseconds between two calls: period=.
 */
final class Calls {
    interface Call {
        String make() throws Throwable;
    }

    private volatile boolean ended;
    private volatile boolean paused;

    void run(Call call, Options options, int usualPeriodMillis) throws Exception {
        int periodMillis = options.number("period", usualPeriodMillis);
        int most = options.number("calls", 0);
        if (most == 0) {
            Thread commands = new Thread(this::commands);
            commands.setDaemon(true);
            commands.start();
        }
        Tally tally = new Tally();
        new Json().put("event", "ready").put("pid", ProcessHandle.current().pid()).print();
        long next = System.nanoTime();
        for (int made = 0; !ended && (most == 0 || made < most); made++) {
            if (!paused) {
                long begin = System.nanoTime();
                try {
                    String by = call.make();
                    tally.good(by, millisSince(begin));
                } catch (Throwable error) {
                    tally.failed(error, millisSince(begin));
                }
            }
            next = Math.max(next + periodMillis * 1_000_000L, System.nanoTime());
            long wait = (next - System.nanoTime()) / 1_000_000;
            if (wait > 0) {
                Thread.sleep(wait);
            }
        }
        tally.summary();
    }

    private static long millisSince(long nanos) {
        return (System.nanoTime() - nanos) / 1_000_000;
    }

    private void commands() {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        try {
            for (String line = lines.readLine(); line != null && !line.equals("exit"); line = lines.readLine()) {
                paused = line.equals("pause");
                new Json().put("event", line).print();
            }
        } catch (java.io.IOException e) {
            // As at its end.
        }
        ended = true;
    }
}
