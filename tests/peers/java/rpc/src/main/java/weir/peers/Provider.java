package weir.peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;

import com.alipay.sofa.rpc.config.ApplicationConfig;
import com.alipay.sofa.rpc.config.ProviderConfig;
import com.alipay.sofa.rpc.config.RegistryConfig;
import com.alipay.sofa.rpc.config.ServerConfig;
import com.alipay.sofa.rpc.registry.RegistryFactory;

/**
 * A SOFARPC provider of {@link Hello} over Bolt. Arguments: name=, host= (to bind to), port=, and if wanted
 * registry=HOST:PORT, unique= (the service's unique id), also= (another unique id that it answers to, not registered),
 * version=, weight=, app=, vhost= and vport= (published instead).
 * Commands on standard input: "unregister" (its port stays open), "register", "exit"; each is answered by a line of JSON.
 */
public final class Provider {
    public static void main(String[] args) throws Exception {
        Options options = new Options(args);
        String name = options.need("name");
        String host = options.need("host");
        ServerConfig server = new ServerConfig().setProtocol("bolt").setHost(host).setBoundHost(host)
            .setPort(Integer.parseInt(options.need("port"))).setDaemon(true);
        if (options.get("vhost") != null) {
            server.setVirtualHost(options.get("vhost")).setVirtualPort(options.number("vport", server.getPort()));
        }
        ProviderConfig<Hello> provider = new ProviderConfig<Hello>()
            .setApplication(new ApplicationConfig().setAppName(options.get("app", "weir-peers")))
            .setInterfaceId(Hello.class.getName())
            .setUniqueId(options.get("unique", ""))
            .setVersion(options.get("version", "1.0"))
            .setRef(new Named(name))
            .setServer(server);
        if (options.get("weight") != null) {
            provider.setWeight(options.number("weight", 100));
        }
        RegistryConfig registry = null;
        if (options.get("registry") != null) {
            registry = new RegistryConfig().setProtocol("sofa").setAddress(options.get("registry"));
            provider.setRegistry(registry);
        }
        provider.export();
        if (options.get("also") != null) {
            new ProviderConfig<Hello>()
                .setApplication(new ApplicationConfig().setAppName(options.get("app", "weir-peers")))
                .setInterfaceId(Hello.class.getName())
                .setUniqueId(options.get("also"))
                .setVersion(options.get("version", "1.0"))
                .setRef(new Named(name))
                .setServer(server)
                .setRegister(false)
                .export();
        }
        new Json().put("event", "ready").put("name", name).put("pid", ProcessHandle.current().pid()).print();

        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        for (String command = commands.readLine(); command != null && !command.equals("exit");
                command = commands.readLine()) {
            if (command.equals("unregister")) {
                RegistryFactory.getRegistry(registry).unRegister(provider);
            } else if (command.equals("register")) {
                RegistryFactory.getRegistry(registry).register(provider);
            } else {
                throw new IllegalArgumentException("no such command: " + command);
            }
            new Json().put("event", command).print();
        }
        provider.unExport();
        server.destroy();
        new Json().put("event", "exit").print();
        System.exit(0);
    }

    private record Named(String name) implements Hello {
        @Override
        public String who(int afterMillis) {
            if (afterMillis > 0) {
                try {
                    Thread.sleep(afterMillis);
                } catch (InterruptedException e) {
                    Thread.currentThread().interrupt();
                }
            }
            return name;
        }
    }
}
