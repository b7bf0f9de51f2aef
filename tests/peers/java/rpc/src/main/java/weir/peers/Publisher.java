package weir.peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

import com.alipay.sofa.registry.client.api.registration.PublisherRegistration;
import com.alipay.sofa.registry.client.api.registration.SubscriberRegistration;
import com.alipay.sofa.registry.client.provider.DefaultRegistryClient;
import com.alipay.sofa.registry.client.provider.DefaultRegistryClientConfigBuilder;
import com.alipay.sofa.registry.core.model.ScopeEnum;

/**
 * The registry's own Java client, led by commands on standard input: "publish DATA_ID BOX...", "unpublish DATA_ID",
 * "subscribe DATA_ID", "exit". Each is answered by a line of JSON, and each push prints one. Arguments:
 * registry=HOST:PORT, and if wanted group=, app=, zone=.
 */
public final class Publisher {
    private final Map<String, com.alipay.sofa.registry.client.api.Publisher> published = new HashMap<>();
    private final DefaultRegistryClient client;
    private final String group;
    private final String app;

    private Publisher(Options options) {
        String[] address = options.need("registry").split(":");
        group = options.get("group", "SOFA");
        app = options.get("app", "weir-publisher");
        DefaultRegistryClientConfigBuilder config = DefaultRegistryClientConfigBuilder.start()
            .setAppName(app).setRegistryEndpoint(address[0]).setRegistryEndpointPort(Integer.parseInt(address[1]))
            .setInstanceId("DEFAULT_INSTANCE_ID");
        if (options.get("zone") != null) {
            config.setZone(options.get("zone"));
        }
        client = new DefaultRegistryClient(config.build());
        client.init();
    }

    public static void main(String[] args) throws Exception {
        Publisher publisher = new Publisher(new Options(args));
        new Json().put("event", "ready").put("pid", ProcessHandle.current().pid()).print();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null && !line.equals("exit"); line = lines.readLine()) {
            String[] words = line.split(" ");
            publisher.obey(words);
            new Json().put("event", words[0]).put("dataId", words[1]).print();
        }
        System.exit(0);
    }

    private void obey(String[] words) {
        String dataId = words[1];
        String[] boxes = Arrays.copyOfRange(words, 2, words.length);
        switch (words[0]) {
            case "publish" -> {
                var known = published.get(dataId);
                if (known != null) {
                    known.republish(boxes);
                } else {
                    PublisherRegistration registration = new PublisherRegistration(dataId);
                    registration.setGroup(group);
                    registration.setAppName(app);
                    published.put(dataId, client.register(registration, boxes));
                }
            }
            case "unpublish" -> published.remove(dataId).unregister();
            case "subscribe" -> {
                SubscriberRegistration registration = new SubscriberRegistration(dataId, (id, data) -> {
                    List<String> all = new ArrayList<>();
                    data.getZoneData().values().forEach(all::addAll);
                    new Json().put("event", "push").put("dataId", id).put("boxes", all)
                        .put("at", System.currentTimeMillis()).print();
                });
                registration.setGroup(group);
                registration.setScopeEnum(ScopeEnum.global);
                client.register(registration);
            }
            default -> throw new IllegalArgumentException("no such command: " + words[0]);
        }
    }
}
