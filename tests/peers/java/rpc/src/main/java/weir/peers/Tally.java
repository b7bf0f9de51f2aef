package weir.peers;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Counts calls; prints a line a second, and a summary. */
final class Tally {
    private static final int KEPT = 100;

    private final long begin = now();
    private final List<Map<String, Object>> failures = new ArrayList<>();
    private Counts second = new Counts();
    private final Counts all = new Counts();
    private long printed = begin;
    private long lastGood = begin;
    private long longestGap;

    synchronized void good(String by, long millis) {
        second.good(by, millis);
        all.good(by, millis);
        long now = now();
        longestGap = Math.max(longestGap, now - lastGood);
        lastGood = now;
        tick(now);
    }

    synchronized void failed(Throwable error, long millis) {
        String kind = kind(error);
        second.failed(kind, millis);
        all.failed(kind, millis);
        if (failures.size() < KEPT) {
            Map<String, Object> failure = new TreeMap<>();
            failure.put("at", now());
            failure.put("ms", millis);
            failure.put("kind", kind);
            failure.put("text", String.valueOf(error.getMessage()));
            failures.add(failure);
        }
        tick(now());
    }

    /** "longest_gap_ms" is the longest time from one answer to the next. */
    synchronized void summary() {
        long now = now();
        all.into(new Json().put("event", "summary").put("from", begin).put("to", now)
            .put("longest_gap_ms", Math.max(longestGap, now - lastGood)))
            .put("failures", failures).print();
    }

    private void tick(long now) {
        if (now - printed >= 1000) {
            second.into(new Json().put("event", "second").put("at", now)).print();
            second = new Counts();
            printed = now;
        }
    }

    /** The class, and SOFARPC's own code if it has one. */
    private static String kind(Throwable error) {
        String kind = error.getClass().getSimpleName();
        String message = String.valueOf(error.getMessage());
        return message.startsWith("RPC-") && message.length() >= 13 ? kind + " " + message.substring(0, 13) : kind;
    }

    static long now() {
        return System.currentTimeMillis();
    }

    private static final class Counts {
        private long ok;
        private long failed;
        private long slowest;
        private final Map<String, Long> by = new TreeMap<>();
        private final Map<String, Long> errors = new TreeMap<>();

        void good(String who, long millis) {
            ok++;
            slowest = Math.max(slowest, millis);
            by.merge(who, 1L, Long::sum);
        }

        void failed(String kind, long millis) {
            failed++;
            slowest = Math.max(slowest, millis);
            errors.merge(kind, 1L, Long::sum);
        }

        Json into(Json json) {
            return json.put("ok", ok).put("failed", failed).put("slowest_ms", slowest).put("by", by)
                .put("errors", errors);
        }
    }
}
