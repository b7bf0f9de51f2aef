package weir.peers;

import java.util.Map;

/** Writes one JSON object a line to standard output. */
final class Json {
    private final StringBuilder text = new StringBuilder("{");

    Json put(String key, Object value) {
        if (text.length() > 1) {
            text.append(',');
        }
        write(text, key);
        text.append(':');
        write(text, value);
        return this;
    }

    void print() {
        String line = text + "}";
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    private static void write(StringBuilder out, Object value) {
        if (value instanceof Number || value instanceof Boolean || value == null) {
            out.append(value);
        } else if (value instanceof Map<?, ?> map) {
            String comma = "{";
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                out.append(comma);
                write(out, String.valueOf(entry.getKey()));
                out.append(':');
                write(out, entry.getValue());
                comma = ",";
            }
            out.append(map.isEmpty() ? "{}" : "}");
        } else if (value instanceof Iterable<?> list) {
            out.append('[');
            String comma = "";
            for (Object item : list) {
                out.append(comma);
                write(out, item);
                comma = ",";
            }
            out.append(']');
        } else {
            out.append('"');
            for (char c : value.toString().toCharArray()) {
                if (c == '"' || c == '\\') {
                    out.append('\\').append(c);
                } else if (c < ' ') {
                    out.append(String.format("\\u%04x", (int) c));
                } else {
                    out.append(c);
                }
            }
            out.append('"');
        }
    }
}
